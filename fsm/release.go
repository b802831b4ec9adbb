package fsm

import (
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/state"
)

// releaseCreate records that the release of a deployment has begun. The result
// has its number.
func releaseCreate(o *op, c *commandpb.ReleaseCreate) (*commandpb.Result, error) {
	release := c.GetRelease()
	if err := o.checkRef(release.GetApp()); err != nil {
		return nil, err
	}
	if err := o.checkFence(release.GetFence()); err != nil {
		return nil, err
	}
	if release.GetId() == "" || o.Release(release.GetId()) != nil {
		return nil, errs.New(errs.AlreadyExists, "a release needs an id of its own, not %q", release.GetId())
	}
	deployment, err := releasable(o, release)
	if err != nil {
		return nil, err
	}
	row := &deploymentpb.Release{
		Id:                 release.GetId(),
		App:                release.GetApp(),
		Sequence:           o.count(release.GetApp(), func(c *commandpb.Counters) *uint64 { return &c.Releases }),
		Fence:              release.GetFence(),
		DeploymentId:       deployment.GetId(),
		DeploymentSequence: deployment.GetSequence(),
		Plugin:             release.GetPlugin(),
		Status:             deploymentpb.Status_STATUS_RUNNING,
		CreatedAt:          o.now,
	}
	state.Put(o.WriteTx, row)
	return &commandpb.Result{Ids: []string{row.GetId()}, Sequence: row.GetSequence()}, nil
}

// releasable returns the deployment that a release may point its app's
// workspace at.
func releasable(o *op, release *deploymentpb.Release) (*deploymentpb.Deployment, error) {
	deployment := o.Deployment(release.GetDeploymentId())
	switch {
	case deployment == nil:
		return nil, errs.New(errs.NotFound, "there is no deployment %s", release.GetDeploymentId())
	case !proto.Equal(deployment.GetApp(), release.GetApp()):
		return nil, errs.New(errs.Invalid, "deployment %s is of another app or workspace", deployment.GetId())
	case deployment.GetStatus() != deploymentpb.Status_STATUS_SUCCEEDED:
		return nil, errs.New(errs.Conflict, "v%d cannot be released: %s", deployment.GetSequence(), statusText(deployment.GetStatus()))
	}
	return deployment, nil
}

// releaseFinish records how a release ended. With success the app's workspace
// points at its deployment.
func releaseFinish(o *op, c *commandpb.ReleaseFinish) (*commandpb.Result, error) {
	release := o.Release(c.GetId())
	if release == nil {
		return nil, errs.New(errs.NotFound, "there is no release %s", c.GetId())
	}
	already, err := o.checkFinish(finishing{
		what: "release " + c.GetId(), status: release.GetStatus(), own: release.GetFence(), given: c.GetFence(), wantFailure: c.GetError() != "",
	})
	if err != nil {
		return nil, err
	}
	if already {
		return unchanged(c.GetId()), nil
	}
	if c.GetError() == "" {
		if _, err := releasable(o, release); err != nil {
			return nil, err
		}
	}
	row := proto.CloneOf(release)
	row.Status, row.Error, row.Url, row.EndedAt = outcome(c.GetError()), c.GetError(), c.GetUrl(), o.now
	state.Put(o.WriteTx, row)
	return &commandpb.Result{Ids: []string{c.GetId()}, Sequence: row.GetSequence()}, nil
}
