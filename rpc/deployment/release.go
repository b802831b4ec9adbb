package deployment

import (
	"context"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/rpc/call"
	"waypoint/rpc/names"
)

// CreateRelease records that a release of a deployment has begun.
func (s *Service) CreateRelease(ctx context.Context, req *deploymentpb.CreateReleaseRequest) (*deploymentpb.CreateReleaseResponse, error) {
	ref, err := checkCreate(ctx, req.GetApp(), req.GetFence(), req.GetPlugin())
	if err != nil {
		return nil, err
	}
	if req.GetDeploymentId() == "" {
		return nil, errs.New(errs.Invalid, "the release of %s names no deployment: deploy the app first", refText(ref))
	}
	id := call.ID(ctx, 0)
	tx, err := s.cfg.write(ctx, &commandpb.Command_ReleaseCreate{ReleaseCreate: &commandpb.ReleaseCreate{
		Release: &deploymentpb.Release{Id: id, App: ref, Fence: req.GetFence(), DeploymentId: req.GetDeploymentId(), Plugin: req.GetPlugin()},
	}})
	if err != nil {
		return nil, err
	}
	release := tx.Release(id)
	if release == nil {
		return nil, gone("release", id)
	}
	return &deploymentpb.CreateReleaseResponse{Release: release}, nil
}

// FinishRelease records how a release ended. Success points the app's workspace
// at its deployment.
func (s *Service) FinishRelease(ctx context.Context, req *deploymentpb.FinishReleaseRequest) (*deploymentpb.FinishReleaseResponse, error) {
	if err := checkFinish(ctx, "release", req.GetId(), req.GetFence()); err != nil {
		return nil, err
	}
	if err := names.Text("the release's URL", req.GetUrl(), maxURL); err != nil {
		return nil, err
	}
	tx, err := s.cfg.write(ctx, &commandpb.Command_ReleaseFinish{ReleaseFinish: &commandpb.ReleaseFinish{
		Id: req.GetId(), Fence: req.GetFence(), Error: names.Truncate(req.GetError(), maxError), Url: req.GetUrl(),
	}})
	if err != nil {
		return nil, err
	}
	release := tx.Release(req.GetId())
	if release == nil {
		return nil, gone("release", req.GetId())
	}
	return &deploymentpb.FinishReleaseResponse{Release: release}, nil
}

// ListReleases returns releases, newest first.
func (s *Service) ListReleases(ctx context.Context, req *deploymentpb.ListReleasesRequest) (*deploymentpb.ListReleasesResponse, error) {
	ref, err := names.Filter(req.GetApp())
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	return &deploymentpb.ListReleasesResponse{Releases: tx.Releases(ref, limit(req.GetLimit()))}, nil
}
