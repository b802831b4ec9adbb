package fsm

import (
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/state"
)

// buildCreate records that a build has begun. The result has its number.
func buildCreate(o *op, c *commandpb.BuildCreate) (*commandpb.Result, error) {
	build := c.GetBuild()
	if err := o.checkRef(build.GetApp()); err != nil {
		return nil, err
	}
	if err := o.checkFence(build.GetFence()); err != nil {
		return nil, err
	}
	if build.GetId() == "" || o.Build(build.GetId()) != nil {
		return nil, errs.New(errs.AlreadyExists, "a build needs an id of its own, not %q", build.GetId())
	}
	row := &deploymentpb.Build{
		Id:        build.GetId(),
		App:       build.GetApp(),
		Fence:     build.GetFence(),
		Plugin:    build.GetPlugin(),
		Status:    deploymentpb.Status_STATUS_RUNNING,
		CreatedAt: o.now,
		Sequence:  o.count(build.GetApp(), func(c *commandpb.Counters) *uint64 { return &c.Builds }),
	}
	state.Put(o.WriteTx, row)
	return &commandpb.Result{Ids: []string{row.GetId()}, Sequence: row.GetSequence()}, nil
}

// buildFinish records how a build ended and, on success, what it made. The
// result names the build and its artifact.
func buildFinish(o *op, c *commandpb.BuildFinish) (*commandpb.Result, error) {
	build := o.Build(c.GetId())
	if build == nil {
		return nil, errs.New(errs.NotFound, "there is no build %s", c.GetId())
	}
	already, err := o.checkFinish(finishing{
		what: "build " + c.GetId(), status: build.GetStatus(), own: build.GetFence(), given: c.GetFence(), wantFailure: c.GetError() != "",
	})
	if err != nil {
		return nil, err
	}
	if already {
		return unchanged(withArtifact(build)...), nil
	}
	row := proto.CloneOf(build)
	row.Status, row.Error, row.EndedAt = outcome(c.GetError()), c.GetError(), o.now
	if c.GetError() == "" {
		if err := insertArtifact(o, c.GetArtifact(), build); err != nil {
			return nil, err
		}
		row.ArtifactId = c.GetArtifact().GetId()
	}
	state.Put(o.WriteTx, row)
	return &commandpb.Result{Ids: withArtifact(row), Sequence: row.GetSequence()}, nil
}

func withArtifact(build *deploymentpb.Build) []string {
	if build.GetArtifactId() == "" {
		return []string{build.GetId()}
	}
	return []string{build.GetId(), build.GetArtifactId()}
}

func insertArtifact(o *op, artifact *deploymentpb.Artifact, build *deploymentpb.Build) error {
	if artifact == nil {
		return errs.New(errs.Invalid, "a build that succeeded has an artifact")
	}
	if artifact.GetId() == "" || o.Artifact(artifact.GetId()) != nil {
		return errs.New(errs.AlreadyExists, "an artifact needs an id of its own, not %q", artifact.GetId())
	}
	row := proto.CloneOf(artifact)
	row.App, row.BuildId, row.CreatedAt = build.GetApp(), build.GetId(), o.now
	state.Put(o.WriteTx, row)
	return nil
}
