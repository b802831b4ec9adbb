package runner

import (
	"context"
	"fmt"

	"waypoint/api/configpb"
	"waypoint/api/projectpb"
	"waypoint/config"
)

// sync tells the cluster what the file says of the project and of the
// configuration of its apps. An app's policy goes before its variables, which
// running instances then take up by it.
func (o *operation) sync(ctx context.Context, apps []*config.App) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := o.projects.ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: o.project.Name, Apps: o.project.Names()})
	if err != nil {
		return fmt.Errorf("apply the project: %w", err)
	}
	for _, app := range apps {
		if app.Policy != nil {
			set := &configpb.SetPolicyRequest{Project: o.project.Name, App: app.Name, Policy: policyOf(app.Policy)}
			if _, err := o.configs.SetPolicy(ctx, set); err != nil {
				return fmt.Errorf("set the configuration policy of app %s: %w", app.Name, err)
			}
		}
		if _, err := o.configs.Set(ctx, o.variables(app)); err != nil {
			return fmt.Errorf("set the configuration of app %s: %w", app.Name, err)
		}
	}
	return nil
}

// variables makes the app's variables in this workspace those of the file.
func (o *operation) variables(app *config.App) *configpb.SetRequest {
	scope := &configpb.Scope{Project: o.project.Name, App: app.Name, Workspace: o.project.Workspace}
	set := &configpb.SetRequest{ReplaceFileScope: scope}
	add := func(name, value string, file *configpb.File) {
		set.Changes = append(set.Changes, &configpb.Change{
			Scope: scope, Name: name, Value: value, Origin: configpb.Origin_ORIGIN_FILE, File: file,
		})
	}
	for name, value := range app.Env {
		add(name, value, nil)
	}
	for _, file := range app.Files {
		add(file.Name, file.Content, &configpb.File{Path: file.Path, Mode: file.Mode, Owner: file.Owner})
	}
	return set
}

// policyOf is a policy as the cluster takes it.
func policyOf(p *config.Policy) *configpb.Policy {
	return &configpb.Policy{
		Reload:         config.ReloadOf(p.Reload),
		Signal:         p.Signal,
		MaxUnavailable: p.MaxUnavailable,
	}
}
