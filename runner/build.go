package runner

import (
	"context"
	"encoding/json"
	"fmt"

	"waypoint/api/deploymentpb"
	"waypoint/config"
	"waypoint/errs"
	"waypoint/plugin"
)

const maxDescription = 1 << 10 // bytes

// build makes an artifact and pushes it where the file says so.
func (o *operation) build(ctx context.Context, app *config.App) (*deploymentpb.Artifact, error) {
	name, _ := use(app.Build)
	created, err := o.deployments.CreateBuild(ctx, &deploymentpb.CreateBuildRequest{
		App: o.ref(app), Fence: o.fence, Plugin: name,
	})
	if err != nil {
		return nil, fmt.Errorf("record the build: %w", err)
	}
	finish := &deploymentpb.FinishBuildRequest{Id: created.GetBuild().GetId(), Fence: o.fence}
	artifact, err := o.makeArtifact(ctx, app)
	if err == nil {
		finish.Artifact, err = o.toRecord(artifact, name)
	}
	finish.Error = failure(err)
	recorded, cancel := recording(ctx)
	defer cancel()
	finished, ferr := o.deployments.FinishBuild(recorded, finish)
	if err != nil {
		return nil, err
	}
	if ferr != nil {
		return nil, fmt.Errorf("record the build: %w", ferr)
	}
	return finished.GetArtifact(), nil
}

func (o *operation) makeArtifact(ctx context.Context, app *config.App) (artifact *plugin.Artifact, err error) {
	err = o.stage("build", app.Name, func() (string, error) {
		name, body := use(app.Build)
		table := o.config.Plugins
		builder, err := table.Builder(name)
		if builder, err = found(app.Build, builder, err); err != nil {
			return "", err
		}
		if err := o.hooks(ctx, app, app.Build, config.Before); err != nil {
			return "", err
		}
		artifact, err = builder.Build(ctx, &plugin.BuildRequest{App: o.app(app), Body: body, Output: o.work})
		if err != nil {
			return "", err
		}
		return artifact.Description, o.hooks(ctx, app, app.Build, config.After)
	})
	if err != nil || app.Registry == nil {
		return artifact, err
	}
	err = o.stage("push", app.Name, func() (string, error) {
		name, body := use(app.Registry)
		registry, err := o.config.Plugins.Registry(name)
		if registry, err = found(app.Registry, registry, err); err != nil {
			return "", err
		}
		if err := o.hooks(ctx, app, app.Registry, config.Before); err != nil {
			return "", err
		}
		artifact, err = registry.Push(ctx, &plugin.PushRequest{
			App: o.app(app), Body: body, Artifact: artifact, Output: o.work,
		})
		if err != nil {
			return "", err
		}
		return artifact.Description, o.hooks(ctx, app, app.Registry, config.After)
	})
	return artifact, err
}

// toRecord returns an artifact as the cluster keeps it.
func (o *operation) toRecord(artifact *plugin.Artifact, name string) (*deploymentpb.Artifact, error) {
	data, err := json.Marshal(artifact.Values)
	if err != nil {
		return nil, errs.New(errs.Internal, "encode the artifact: %w", err)
	}
	record := &deploymentpb.Artifact{Plugin: name, Description: description(artifact), Data: data}
	if artifact.HostBound {
		record.Host = o.config.Host
	}
	return record, nil
}

// description is the artifact's within the bound of its record.
func description(a *plugin.Artifact) string {
	return text(a.Description[:min(len(a.Description), maxDescription)])
}

// fromRecord undoes toRecord. An artifact of another machine is of no use here.
func (o *operation) fromRecord(record *deploymentpb.Artifact) (*plugin.Artifact, error) {
	if host := record.GetHost(); host != "" && host != o.config.Host {
		return nil, errs.New(errs.Invalid, "artifact %s exists on host %s only, this is %s: build it here, or deploy it with a runner there",
			record.GetDescription(), host, o.config.Host)
	}
	artifact := &plugin.Artifact{Description: record.GetDescription(), HostBound: record.GetHost() != ""}
	if len(record.GetData()) == 0 {
		return artifact, nil
	}
	if err := json.Unmarshal(record.GetData(), &artifact.Values); err != nil {
		return nil, errs.New(errs.Internal, "decode the artifact: %w", err)
	}
	return artifact, nil
}
