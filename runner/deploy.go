package runner

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"waypoint/api/deploymentpb"
	"waypoint/config"
	"waypoint/errs"
	"waypoint/plugin"
)

const entrypointName = "waypoint-entrypoint"

// deploy runs an artifact: the one given, the one that the job names, or the
// app's newest.
func (o *operation) deploy(ctx context.Context, app *config.App, record *deploymentpb.Artifact) (deployment *deploymentpb.Deployment, err error) {
	err = o.stage("deploy", app.Name, func() (string, error) {
		if record == nil {
			if record, err = o.findArtifact(ctx, app); err != nil {
				return "", err
			}
		}
		if err := o.hooks(ctx, app, app.Deploy, config.Before); err != nil {
			return "", err
		}
		if deployment, err = o.deployArtifact(ctx, app, record); err != nil {
			return "", err
		}
		return deployed(deployment), o.hooks(ctx, app, app.Deploy, config.After)
	})
	return deployment, err
}

func deployed(d *deploymentpb.Deployment) string {
	text := fmt.Sprintf("v%d", d.GetSequence())
	if d.GetHost() != "" {
		text += " on host " + d.GetHost()
	}
	switch d.GetInstances() {
	case 0:
		return text
	case 1:
		return text + ": 1 instance"
	}
	return fmt.Sprintf("%s: %d instances", text, d.GetInstances())
}

func (o *operation) findArtifact(ctx context.Context, app *config.App) (*deploymentpb.Artifact, error) {
	ask := &deploymentpb.GetArtifactRequest{Id: o.spec.GetArtifactId()}
	if ask.Id == "" {
		ask.App = o.ref(app)
	}
	answer, err := o.deployments.GetArtifact(ctx, ask)
	return answer.GetArtifact(), err
}

func (o *operation) deployArtifact(ctx context.Context, app *config.App, record *deploymentpb.Artifact) (*deploymentpb.Deployment, error) {
	name, body := use(app.Deploy)
	platform, err := o.config.Plugins.Platform(name)
	if platform, err = found(app.Deploy, platform, err); err != nil {
		return nil, err
	}
	artifact, err := o.fromRecord(record)
	if err != nil {
		return nil, err
	}
	req := &plugin.DeployRequest{App: o.app(app), Body: body, Artifact: artifact, Output: o.work}
	plan, err := platform.Plan(req)
	if err != nil {
		return nil, err
	}
	if plan.Entrypoint {
		if req.Entrypoint.Binary, err = o.entrypointBinary(); err != nil {
			return nil, err
		}
	}
	create := &deploymentpb.CreateDeploymentRequest{
		App: o.ref(app), Fence: o.fence, ArtifactId: record.GetId(), Plugin: name,
		Instances: uint32(plan.Instances), Entrypoint: plan.Entrypoint,
	}
	if plan.HostBound {
		create.Host = o.config.Host
	}
	created, err := o.deployments.CreateDeployment(ctx, create)
	if err != nil {
		return nil, fmt.Errorf("record the deployment: %w", err)
	}
	req.ID, req.Sequence = created.GetDeployment().GetId(), created.GetDeployment().GetSequence()
	req.Entrypoint.ServerAddrs, req.Entrypoint.ServerCA = created.GetServerAddrs(), created.GetServerCa()
	req.Entrypoint.Token = created.GetEntrypointToken()
	req.Attached = func(ctx context.Context) (int, error) { return o.countAttached(ctx, req.ID) }
	return o.carryOut(ctx, platform, req)
}

// carryOut deploys and records how that went.
func (o *operation) carryOut(ctx context.Context, platform plugin.Platform, req *plugin.DeployRequest) (*deploymentpb.Deployment, error) {
	finish := &deploymentpb.FinishDeploymentRequest{Id: req.ID, Fence: o.fence}
	made, err := platform.Deploy(ctx, req)
	if err == nil {
		finish.Data, finish.Url = made.Data, made.URL
	}
	finish.Error = failure(err)
	recorded, cancel := recording(ctx)
	defer cancel()
	finished, ferr := o.deployments.FinishDeployment(recorded, finish)
	if err != nil {
		return nil, err
	}
	if ferr != nil {
		return nil, fmt.Errorf("record the deployment: %w", ferr)
	}
	return finished.GetDeployment(), nil
}

func (o *operation) countAttached(ctx context.Context, id string) (int, error) {
	answer, err := o.deployments.ListInstances(ctx, &deploymentpb.ListInstancesRequest{DeploymentId: id})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, instance := range answer.GetInstances() {
		// An entrypoint attaches before it starts the application, which may fail.
		if instance.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED && instance.GetChildStarts() > 0 {
			n++
		}
	}
	return n, nil
}

// entrypointBinary returns the absolute path of the entrypoint.
func (o *operation) entrypointBinary() (string, error) {
	if path := o.config.EntrypointBinary; path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", errs.New(errs.Invalid, "the entrypoint: %w", err)
		}
		return filepath.Abs(path)
	}
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), entrypointName)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	path, err := exec.LookPath(entrypointName)
	if err != nil {
		return "", errs.New(errs.Invalid, "%s is neither beside this program nor in PATH: %w", entrypointName, err)
	}
	return filepath.Abs(path)
}
