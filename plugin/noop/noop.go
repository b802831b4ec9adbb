// Package noop is a plugin for every stage that does nothing: to leave a stage
// out, and to try the rest without it.
package noop

import (
	"context"

	"waypoint/plugin"
)

// Noop is builder, registry, platform and releaser. Its bodies are empty.
type Noop struct{}

var (
	_ plugin.Builder  = Noop{}
	_ plugin.Registry = Noop{}
	_ plugin.Platform = Noop{}
	_ plugin.Releaser = Noop{}
)

// Build makes an artifact of nothing.
func (Noop) Build(_ context.Context, req *plugin.BuildRequest) (*plugin.Artifact, error) {
	if err := empty(req.Body); err != nil {
		return nil, err
	}
	return &plugin.Artifact{Description: "nothing"}, nil
}

// Push leaves the artifact where it is.
func (Noop) Push(_ context.Context, req *plugin.PushRequest) (*plugin.Artifact, error) {
	return req.Artifact, empty(req.Body)
}

// Plan says that nothing will run.
func (Noop) Plan(req *plugin.DeployRequest) (*plugin.Plan, error) {
	return &plugin.Plan{}, empty(req.Body)
}

// Deploy starts nothing.
func (Noop) Deploy(context.Context, *plugin.DeployRequest) (*plugin.Deployed, error) {
	return &plugin.Deployed{}, nil
}

// Destroy ends nothing.
func (Noop) Destroy(context.Context, *plugin.DestroyRequest) error { return nil }

// Release leads nobody.
func (Noop) Release(_ context.Context, req *plugin.ReleaseRequest) (*plugin.Released, error) {
	return &plugin.Released{}, empty(req.Body)
}

func empty(body plugin.Body) error {
	if body == nil {
		return nil
	}
	return body.Decode(&struct{}{}, nil)
}
