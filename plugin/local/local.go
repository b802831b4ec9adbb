// Package local is the platform "local": it runs instances as processes on the
// runner's machine, each under the entrypoint, in a session of its own. They
// outlive the runner.
//
// What runs is written down in a folder of the deployment, before it runs: who
// each process is by pid, start time and boot, so that destroying a deployment
// leaves nothing running and never touches a process of somebody else.
package local

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"waypoint/errs"
	"waypoint/plugin"
)

// Config says where and how patiently the platform works.
type Config struct {
	StateDir      string        // holds a folder per deployment; see DefaultStateDir
	AttachTimeout time.Duration // how long instances may take to reach the cluster; 0: 30 s
	Grace         time.Duration // between asking an instance to end and killing it; 0: 30 s
	Poll          time.Duration // between two looks at what cannot be watched; 0: 50 ms
}

// Platform is the platform.
type Platform struct {
	config Config

	mu       sync.Mutex
	children map[int]bool // pids this process has started and not reaped
}

var _ plugin.Platform = (*Platform)(nil)

// Body is what stands in use "local". Its expressions may use artifact.path
// (this deployment's own copy of the built file or folder), deployment.id and
// deployment.dir.
type Body struct {
	Command   []string          `hcl:"command,optional"`   // default: the artifact itself
	Instances *int              `hcl:"instances,optional"` // default: 1
	Env       map[string]string `hcl:"env,optional"`
	Dir       string            `hcl:"dir,optional"` // working folder, relative to the app's folder; default: deployment.dir
	Log       string            `hcl:"log,optional"` // "file" (default): <instance>.log in deployment.dir, not rotated; "none"
}

// maxInstances bounds a typing error.
const maxInstances = 1000

// New returns the platform.
func New(config Config) *Platform {
	if config.AttachTimeout == 0 {
		config.AttachTimeout = 30 * time.Second
	}
	if config.Grace == 0 {
		config.Grace = 30 * time.Second
	}
	if config.Poll == 0 {
		config.Poll = 50 * time.Millisecond
	}
	return &Platform{config: config, children: make(map[int]bool)}
}

// DefaultStateDir is ${XDG_STATE_HOME:-~/.local/state}/waypoint/local.
func DefaultStateDir() (string, error) {
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", errs.New(errs.Invalid, "neither XDG_STATE_HOME nor HOME is set: %w", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "waypoint", "local"), nil
}

// Plan reads the body.
func (p *Platform) Plan(req *plugin.DeployRequest) (*plugin.Plan, error) {
	body, err := p.decode(req, "DEPLOYMENT")
	if err != nil {
		return nil, err
	}
	return &plugin.Plan{Instances: *body.Instances, Entrypoint: true, HostBound: true}, nil
}

// decode reads the body for a deployment.
func (p *Platform) decode(req *plugin.DeployRequest, id string) (*Body, error) {
	dir := p.dir(id)
	artifact := make(map[string]string)
	for name, value := range req.Artifact.Values {
		artifact[name] = value
	}
	if path := artifact["path"]; path != "" {
		artifact["path"] = copyPath(dir, path)
	}
	var body Body
	err := req.Body.Decode(&body, map[string]map[string]string{
		"artifact": artifact, "deployment": {"id": id, "dir": dir},
	})
	if err != nil {
		return nil, err
	}
	if body.Instances == nil {
		one := 1
		body.Instances = &one
	}
	if n := *body.Instances; n < 1 || n > maxInstances {
		return nil, errs.New(errs.Invalid, `use "local": instances must be 1 to %d, not %d`, maxInstances, n)
	}
	if len(body.Command) == 0 && artifact["path"] != "" {
		body.Command = []string{artifact["path"]}
	}
	if len(body.Command) == 0 {
		return nil, errs.New(errs.Invalid, `use "local": set command, the build has no path to run`)
	}
	if body.Log != "" && body.Log != "file" && body.Log != "none" {
		return nil, errs.New(errs.Invalid, `use "local": log must be "file" or "none", not %q`, body.Log)
	}
	switch {
	case body.Dir == "":
		body.Dir = dir
	case !filepath.IsAbs(body.Dir):
		body.Dir = filepath.Join(req.App.Dir, body.Dir)
	}
	return &body, nil
}

// Deploy copies the artifact into the deployment's folder, starts the
// instances and waits until all of them have reached the cluster.
func (p *Platform) Deploy(ctx context.Context, req *plugin.DeployRequest) (*plugin.Deployed, error) {
	body, err := p.decode(req, req.ID)
	if err != nil {
		return nil, err
	}
	if err := p.deploy(ctx, req, body); err != nil {
		p.tails(req)
		// What has been started must not stay because the job was cancelled.
		clean := &plugin.DestroyRequest{ID: req.ID, Output: req.Output}
		if cerr := p.Destroy(context.WithoutCancel(ctx), clean); cerr != nil {
			return nil, fmt.Errorf("%w (and cleaning up failed: %v)", err, cerr)
		}
		return nil, err
	}
	data, err := json.Marshal(place{StateDir: p.config.StateDir})
	if err != nil {
		return nil, errs.New(errs.Internal, "encode the deployment's data: %w", err)
	}
	return &plugin.Deployed{Data: data}, nil
}

func (p *Platform) deploy(ctx context.Context, req *plugin.DeployRequest, body *Body) error {
	dir := p.dir(req.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return errs.New(errs.Invalid, "make the deployment's folder: %w", err)
	}
	if path := req.Artifact.Values["path"]; path != "" {
		if err := copyArtifact(path, copyPath(dir, path)); err != nil {
			return errs.New(errs.Invalid, "copy the artifact: %w", err)
		}
	}
	boot, err := bootID()
	if err != nil {
		return errs.New(errs.Internal, "find this machine's boot id: %w", err)
	}
	rec := &record{Boot: boot}
	for n := range *body.Instances {
		if err := ctx.Err(); err != nil {
			return errs.New(errs.Canceled, "deploy: %w", err)
		}
		proc, err := p.start(req, body, rec, n+1)
		if err != nil {
			return fmt.Errorf("start instance %d: %w", n+1, err)
		}
		fmt.Fprintf(req.Output, "instance %d: pid %d\n", n+1, proc.PID)
	}
	return p.awaitAttached(ctx, req, rec)
}

// awaitAttached waits until all instances have reached the cluster, one has
// ended, or time is up.
func (p *Platform) awaitAttached(ctx context.Context, req *plugin.DeployRequest, rec *record) error {
	want := len(rec.Processes)
	ticker := time.NewTicker(p.config.Poll)
	defer ticker.Stop()
	limit := time.NewTimer(p.config.AttachTimeout)
	defer limit.Stop()
	have, asked := 0, error(nil)
	for {
		n, err := req.Attached(ctx)
		if asked = err; err == nil {
			have = n
		}
		if have >= want {
			fmt.Fprintf(req.Output, "%d of %d instances attached\n", have, want)
			return nil
		}
		p.reap()
		for n, proc := range rec.Processes {
			if !proc.alive() {
				return errs.New(errs.Invalid, "instance %d (pid %d) ended before it had reached the cluster", n+1, proc.PID)
			}
		}
		select {
		case <-ctx.Done():
			return errs.New(errs.Canceled, "wait for the instances to attach: %w", context.Cause(ctx))
		case <-limit.C:
			if asked != nil {
				return errs.New(errs.Unavailable, "%d of %d instances attached after %s, and asking failed: %w",
					have, want, p.config.AttachTimeout, asked)
			}
			return errs.New(errs.Deadline, "%d of %d instances attached after %s; do their entrypoints reach %v from this machine?",
				have, want, p.config.AttachTimeout, req.Entrypoint.ServerAddrs)
		case <-ticker.C:
		}
	}
}

// dir is the folder of a deployment.
func (p *Platform) dir(id string) string { return filepath.Join(p.config.StateDir, id) }
