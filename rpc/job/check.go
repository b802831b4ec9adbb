package job

import (
	"context"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/proto"

	"waypoint/api/jobpb"
	"waypoint/api/policypb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/call"
	"waypoint/rpc/names"
)

const (
	maxSpec        = 64 << 10 // bytes
	maxDeployments = 1000     // of one destroy
	maxAttempts    = 20
	ulidLen        = 26
)

func checkID(id string) error {
	if _, err := ids.Time(id); err != nil || len(id) != ulidLen {
		return errs.New(errs.Invalid, "job id %q is not a ULID: leave it out or send a new one", names.Short(id))
	}
	return nil
}

// checkSpec returns the spec with its defaults filled in.
func checkSpec(ctx context.Context, given *jobpb.Spec) (*jobpb.Spec, error) {
	if given == nil {
		return nil, errs.New(errs.Invalid, "the request has no spec: say what the job is to do")
	}
	if size := proto.Size(given); size > maxSpec {
		return nil, errs.New(errs.Exhausted, "the job's spec has %d bytes and may have at most %d", size, maxSpec)
	}
	spec := proto.CloneOf(given)
	if spec.Workspace == "" && spec.GetProject() != "" {
		spec.Workspace = names.DefaultWorkspace
	}
	if err := checkOperation(ctx, spec); err != nil {
		return nil, err
	}
	if spec.GetMaxAttempts() > maxAttempts {
		return nil, errs.New(errs.Invalid, "%d attempts are too many: allow at most %d", spec.GetMaxAttempts(), maxAttempts)
	}
	if len(spec.GetDeploymentIds()) > maxDeployments {
		return nil, errs.New(errs.Exhausted, "%d deployments are too many for one job: name at most %d", len(spec.GetDeploymentIds()), maxDeployments)
	}
	for _, check := range []error{
		names.Optional("app", spec.GetApp()), names.Optional("workspace", spec.GetWorkspace()), names.Optional("plugin", spec.GetPlugin()),
	} {
		if check != nil {
			return nil, check
		}
	}
	return spec, nil
}

// checkOperation checks what depends on the operation.
func checkOperation(ctx context.Context, spec *jobpb.Spec) error {
	op := spec.GetOperation()
	if _, known := jobpb.Operation_name[int32(op)]; !known || op == jobpb.Operation_OPERATION_UNSPECIFIED {
		return errs.New(errs.Invalid, "the job's operation %d is unknown: use a client of the server's release", op)
	}
	if call.From(ctx).Caller == policypb.Caller_CALLER_RUNNER && op != jobpb.Operation_OPERATION_DESTROY {
		return errs.New(errs.PermissionDenied, "a runner may submit jobs that destroy deployments only")
	}
	if op == jobpb.Operation_OPERATION_NOOP {
		return names.Optional("project", spec.GetProject())
	}
	if err := names.Check("project", spec.GetProject()); err != nil {
		return err
	}
	needsFolder := slices.Contains([]jobpb.Operation{
		jobpb.Operation_OPERATION_BUILD, jobpb.Operation_OPERATION_DEPLOY,
		jobpb.Operation_OPERATION_RELEASE, jobpb.Operation_OPERATION_UP,
	}, op)
	if (needsFolder || spec.GetFolder() != "") && !filepath.IsAbs(spec.GetFolder()) {
		return errs.New(errs.Invalid, "the job's folder %q is not an absolute path on the runner's host", names.Short(spec.GetFolder()))
	}
	return nil
}
