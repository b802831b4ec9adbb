package deployment

import (
	"context"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/rpc/call"
	"waypoint/rpc/names"
)

// CreateBuild records that a build has begun.
func (s *Service) CreateBuild(ctx context.Context, req *deploymentpb.CreateBuildRequest) (*deploymentpb.CreateBuildResponse, error) {
	ref, err := checkCreate(ctx, req.GetApp(), req.GetFence(), req.GetPlugin())
	if err != nil {
		return nil, err
	}
	id := call.ID(ctx, 0)
	tx, err := s.cfg.write(ctx, &commandpb.Command_BuildCreate{BuildCreate: &commandpb.BuildCreate{
		Build: &deploymentpb.Build{Id: id, App: ref, Fence: req.GetFence(), Plugin: req.GetPlugin()},
	}})
	if err != nil {
		return nil, err
	}
	build := tx.Build(id)
	if build == nil {
		return nil, gone("build", id)
	}
	return &deploymentpb.CreateBuildResponse{Build: build}, nil
}

// FinishBuild records how a build ended, and what it made.
func (s *Service) FinishBuild(ctx context.Context, req *deploymentpb.FinishBuildRequest) (*deploymentpb.FinishBuildResponse, error) {
	if err := checkFinish(ctx, "build", req.GetId(), req.GetFence()); err != nil {
		return nil, err
	}
	artifact, err := newArtifact(ctx, req)
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.write(ctx, &commandpb.Command_BuildFinish{BuildFinish: &commandpb.BuildFinish{
		Id: req.GetId(), Fence: req.GetFence(), Error: names.Truncate(req.GetError(), maxError), Artifact: artifact,
	}})
	if err != nil {
		return nil, err
	}
	build := tx.Build(req.GetId())
	if build == nil {
		return nil, gone("build", req.GetId())
	}
	return &deploymentpb.FinishBuildResponse{Build: build, Artifact: tx.Artifact(build.GetArtifactId())}, nil
}

// newArtifact returns the record of what a build made, nil for a failed one.
func newArtifact(ctx context.Context, req *deploymentpb.FinishBuildRequest) (*deploymentpb.Artifact, error) {
	if req.GetError() != "" {
		return nil, nil
	}
	made := req.GetArtifact()
	if made == nil {
		return nil, errs.New(errs.Invalid, "build %s succeeded but names no artifact: say what it made, or give an error", req.GetId())
	}
	if err := names.Check("plugin", made.GetPlugin()); err != nil {
		return nil, err
	}
	if err := checkHost(made.GetHost()); err != nil {
		return nil, err
	}
	if err := names.Text("the artifact's description", made.GetDescription(), maxDescription); err != nil {
		return nil, err
	}
	if err := checkData("artifact", made.GetData()); err != nil {
		return nil, err
	}
	return &deploymentpb.Artifact{
		Id:          call.ID(ctx, 0),
		Plugin:      made.GetPlugin(),
		Host:        made.GetHost(),
		Description: made.GetDescription(),
		Data:        made.GetData(),
	}, nil
}

// ListBuilds returns builds, newest first.
func (s *Service) ListBuilds(ctx context.Context, req *deploymentpb.ListBuildsRequest) (*deploymentpb.ListBuildsResponse, error) {
	ref, err := names.Filter(req.GetApp())
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	return &deploymentpb.ListBuildsResponse{Builds: tx.Builds(ref, limit(req.GetLimit()))}, nil
}

// GetArtifact returns an artifact by id, or the newest of an app.
func (s *Service) GetArtifact(ctx context.Context, req *deploymentpb.GetArtifactRequest) (*deploymentpb.GetArtifactResponse, error) {
	ref, err := names.Ref(req.GetApp())
	if err != nil && req.GetId() == "" {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	if id := req.GetId(); id != "" {
		if artifact := tx.Artifact(id); artifact != nil {
			return &deploymentpb.GetArtifactResponse{Artifact: artifact}, nil
		}
		return nil, errs.New(errs.NotFound, "artifact %q does not exist: see \"waypoint build list\"", names.Short(id))
	}
	artifact := tx.LatestArtifact(ref)
	if artifact == nil {
		return nil, errs.New(errs.NotFound, "app %s has no artifact yet: run \"waypoint build\" first", refText(ref))
	}
	return &deploymentpb.GetArtifactResponse{Artifact: artifact}, nil
}
