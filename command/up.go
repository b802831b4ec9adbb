package command

import (
	"context"

	"github.com/posener/complete"

	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
)

// defaultRetain is how many released deployments stay.
const defaultRetain = 2

func (f *flags) retain(p *uint) {
	f.Uint(p, "prune-retain", defaultRetain, "how many released deployments stay, the newest first; older ones are destroyed; 0 keeps all (`number`)")
}

// does makes the Run of an operation on a project; more completes the job.
func (o *operation) does(op jobpb.Operation, more func(ctx context.Context, cc Conn, at *place, spec *jobpb.Spec) error) func(context.Context, *Env, []string) error {
	return func(ctx context.Context, env *Env, args []string) error {
		if err := noArgs(args); err != nil {
			return err
		}
		at, err := o.scope.target(env)
		if err != nil {
			return err
		}
		spec, err := o.spec(env, op, at)
		if err != nil {
			return err
		}
		if err := needsFolder(spec); err != nil {
			return err
		}
		if err := checkFile(at, spec); err != nil {
			return err
		}
		return o.conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
			if err := more(ctx, cc, at, spec); err != nil {
				return err
			}
			return o.submit(ctx, env, cc, at, spec)
		})
	}
}

func upCommand() *Command {
	f := newFlags()
	var retain uint
	f.retain(&retain)
	o := f.operation()
	return &Command{
		Synopsis: "Build, deploy and release the apps of the project",
		Help:     operationHelp,
		Examples: `waypoint up
			waypoint up -app=web -workspace=staging -var=tag=v2
			waypoint up -remote -runner-label=zone=a -detach`,
		Flags:   f,
		Signals: true,
		Run: o.does(jobpb.Operation_OPERATION_UP, func(_ context.Context, _ Conn, _ *place, spec *jobpb.Spec) error {
			spec.PruneRetain = uint32(retain)
			return nil
		}),
	}
}

func buildCommand() *Command {
	f := newFlags()
	o := f.operation()
	return &Command{
		Synopsis: "Build the apps of the project",
		Help:     "This builds and pushes, and leaves an artifact for \"waypoint deploy\".\n\n" + operationHelp,
		Examples: `waypoint build -app=web`,
		Flags:    f,
		Signals:  true,
		Run:      o.does(jobpb.Operation_OPERATION_BUILD, func(context.Context, Conn, *place, *jobpb.Spec) error { return nil }),
	}
}

func deployCommand() *Command {
	f := newFlags()
	var artifact string
	f.String(&artifact, "artifact", "", complete.PredictAnything, "the artifact of this `id`, as \"waypoint build list\" shows it; default: the newest")
	o := f.operation()
	return &Command{
		Synopsis: "Deploy the newest build of the apps",
		Help:     "The deployment runs beside those there are. Users are led to it by \"waypoint release\".\n\n" + operationHelp,
		Examples: `waypoint deploy -app=web`,
		Flags:    f,
		Signals:  true,
		Run: o.does(jobpb.Operation_OPERATION_DEPLOY, func(_ context.Context, _ Conn, at *place, spec *jobpb.Spec) error {
			if artifact == "" {
				return nil
			}
			ref, err := at.oneApp()
			if err != nil {
				return err
			}
			spec.App, spec.ArtifactId = ref.GetApp(), artifact
			return nil
		}),
	}
}

func deploymentFlag(f *flags, p *string) {
	f.String(p, "deployment", "", complete.PredictAnything, "the `deployment`: a version like v3, or its id")
}

func releaseCommand() *Command {
	f := newFlags()
	var deployment string
	var retain uint
	deploymentFlag(f, &deployment)
	f.retain(&retain)
	o := f.operation()
	return &Command{
		Synopsis: "Release the newest deployment of the apps",
		Help:     "A release leads the app's users to a deployment. Releasing an older one rolls back.\n\n" + operationHelp,
		Examples: `waypoint release
			waypoint release -app=web -deployment=v3`,
		Flags:   f,
		Signals: true,
		Run: o.does(jobpb.Operation_OPERATION_RELEASE, func(ctx context.Context, cc Conn, at *place, spec *jobpb.Spec) error {
			spec.PruneRetain = uint32(retain)
			if deployment == "" {
				return nil
			}
			ref, err := at.oneApp()
			if err != nil {
				return err
			}
			id, err := deploymentID(ctx, deploymentpb.NewDeploymentServiceClient(cc), ref, deployment)
			if err != nil {
				return err
			}
			spec.App, spec.DeploymentIds = ref.GetApp(), []string{id}
			return nil
		}),
	}
}
