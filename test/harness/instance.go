package harness

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/api/projectpb"
)

// Deployment is the record of a deployment without a platform: whoever made it
// starts its instances.
type Deployment struct {
	ID  string
	App *deploymentpb.AppRef

	cluster *Cluster
	env     []string // what an entrypoint needs to attach
}

// Deploy makes a project with one app and records a deployment of it, as a
// user who deploys by hand does. WorkDir becomes a folder of the project, so
// that commands find it.
func Deploy(ctx context.Context, c *Cluster, project string) (*Deployment, error) {
	const app = "web"
	conn, err := c.Dial(0)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := projectpb.NewProjectServiceClient(conn.Conn()).ApplyProject(ctx, &projectpb.ApplyProjectRequest{
		Name: project, Apps: []string{app},
	}); err != nil {
		return nil, fmt.Errorf("make project %s: %w", project, err)
	}
	ref := &deploymentpb.AppRef{Project: project, App: app, Workspace: "default"}
	made, err := record(ctx, deploymentpb.NewDeploymentServiceClient(conn.Conn()), ref)
	if err != nil {
		return nil, fmt.Errorf("record a deployment of %s: %w", project, err)
	}
	c.WorkDir = filepath.Join(c.Dir, project)
	text := fmt.Sprintf("project = %q\n\napp %q {\n  build {\n    use \"noop\" {}\n  }\n  deploy {\n    use \"noop\" {}\n  }\n}\n", project, app)
	if err := os.MkdirAll(c.WorkDir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(c.WorkDir, "waypoint.hcl"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	return &Deployment{
		ID: made.GetDeployment().GetId(), App: ref, cluster: c,
		env: []string{
			"WAYPOINT_SERVER_ADDR=" + strings.Join(made.GetServerAddrs(), ","),
			"WAYPOINT_SERVER_CA=" + made.GetServerCa(),
			"WAYPOINT_DEPLOYMENT_ID=" + made.GetDeployment().GetId(),
			"WAYPOINT_ENTRYPOINT_TOKEN=" + made.GetEntrypointToken(),
		},
	}, nil
}

// record leaves the records of a build and a deployment that succeeded.
func record(ctx context.Context, api deploymentpb.DeploymentServiceClient, ref *deploymentpb.AppRef) (*deploymentpb.CreateDeploymentResponse, error) {
	build, err := api.CreateBuild(ctx, &deploymentpb.CreateBuildRequest{App: ref, Plugin: "noop"})
	if err != nil {
		return nil, err
	}
	built, err := api.FinishBuild(ctx, &deploymentpb.FinishBuildRequest{
		Id: build.GetBuild().GetId(), Artifact: &deploymentpb.Artifact{Plugin: "noop", Description: "by hand"},
	})
	if err != nil {
		return nil, err
	}
	made, err := api.CreateDeployment(ctx, &deploymentpb.CreateDeploymentRequest{
		App: ref, ArtifactId: built.GetArtifact().GetId(), Plugin: "noop", Entrypoint: true,
	})
	if err != nil {
		return nil, err
	}
	_, err = api.FinishDeployment(ctx, &deploymentpb.FinishDeploymentRequest{Id: made.GetDeployment().GetId()})
	return made, err
}

// Environ is the environment in which an entrypoint of the deployment runs.
func (d *Deployment) Environ(more ...string) []string {
	return append(append(d.cluster.env(), d.env...), more...)
}

// Instance is one running entrypoint.
type Instance struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone
}

// StartInstance starts an entrypoint of the deployment with a command. What it
// prints goes to out, to nowhere if that is nil.
func (d *Deployment) StartInstance(out io.Writer, env []string, argv ...string) (*Instance, error) {
	cmd := exec.Command(filepath.Join(d.cluster.Bin, "waypoint-entrypoint"), argv...)
	cmd.Env, cmd.Dir = d.Environ(env...), d.cluster.Dir
	d.cluster.enter(cmd, AppRole, 0)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	i := &Instance{cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(i.ended)
		_ = cmd.Wait() // its end shows as the closed channel and in Code
	}()
	return i, nil
}

// Pid returns the entrypoint's process id.
func (i *Instance) Pid() int { return i.cmd.Process.Pid }

// Signal sends any signal to the entrypoint.
func (i *Instance) Signal(s syscall.Signal) {
	select {
	case <-i.ended:
	default:
		_ = i.cmd.Process.Signal(s) // it may end at this moment
	}
}

// Ended is closed when the entrypoint is gone.
func (i *Instance) Ended() <-chan struct{} { return i.ended }

// Code is the exit code once the entrypoint has ended.
func (i *Instance) Code() int { return i.cmd.ProcessState.ExitCode() }

// Stop ends the entrypoint with SIGTERM, with SIGKILL if that takes longer than
// limit, and waits for its end.
func (i *Instance) Stop(limit time.Duration) {
	i.Signal(syscall.SIGTERM)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-i.ended:
	case <-timer.C:
		i.Signal(syscall.SIGKILL)
		<-i.ended
	}
}

// Attached waits until n instances are attached.
func Attached(ctx context.Context, c *Cluster, n int, limit time.Duration) error {
	return Until(ctx, limit, func() error {
		list, err := c.Instances(ctx)
		if err == nil && len(list) != n {
			err = fmt.Errorf("%d instances are attached, want %d", len(list), n)
		}
		return err
	})
}
