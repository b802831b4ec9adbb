// Package execbuild is the builder "exec": it runs a command in the app's
// folder and names what the command has made.
package execbuild

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"waypoint/errs"
	"waypoint/plugin"
	"waypoint/plugin/child"
)

// Builder is the builder.
type Builder struct{}

var _ plugin.Builder = Builder{}

// Body is what stands in use "exec". At most one of Output and Name is set;
// with neither the artifact is the app's folder.
type Body struct {
	Command []string          `hcl:"command"`
	Env     map[string]string `hcl:"env,optional"`
	Output  string            `hcl:"output,optional"` // a file or folder, relative to the app's folder: artifact.path
	Name    string            `hcl:"name,optional"`   // anything else that names what was made: artifact.name
}

// Build runs the command. The artifact's values are "path", absolute, or
// "name". Without the path that Output promises the build has failed.
func (Builder) Build(ctx context.Context, req *plugin.BuildRequest) (*plugin.Artifact, error) {
	var body Body
	if err := req.Body.Decode(&body, nil); err != nil {
		return nil, err
	}
	if body.Output != "" && body.Name != "" {
		return nil, errs.New(errs.Invalid, `use "exec": set output or name, not both`)
	}
	fmt.Fprintf(req.Output, "run %q in %s\n", body.Command, req.App.Dir)
	err := child.Run(ctx, child.Command{Args: body.Command, Dir: req.App.Dir, Env: body.Env, Output: req.Output})
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	if body.Name != "" {
		return &plugin.Artifact{Description: body.Name, Values: map[string]string{"name": body.Name}}, nil
	}
	path := body.Output
	if !filepath.IsAbs(path) {
		path = filepath.Join(req.App.Dir, path)
	}
	if _, err := os.Stat(path); err != nil {
		return nil, errs.New(errs.Invalid, "build: the command succeeded but its output is not there: %w", err)
	}
	return &plugin.Artifact{
		Description: path,
		HostBound:   true,
		Values:      map[string]string{"path": path},
	}, nil
}
