package runner

import (
	"context"
	"fmt"
	"slices"

	"waypoint/api/deploymentpb"
	"waypoint/config"
	"waypoint/errs"
	"waypoint/plugin"
)

const listLimit = 1000 // deployments of an app that are looked at

// release leads the app's users to a deployment: the one given, the one that
// the job names, or the newest that succeeded. Then it prunes.
func (o *operation) release(ctx context.Context, app *config.App, deployment *deploymentpb.Deployment) error {
	err := o.stage("release", app.Name, func() (_ string, err error) {
		if deployment == nil {
			if deployment, err = o.findDeployment(ctx, app); err != nil {
				return "", err
			}
		}
		if err := o.hooks(ctx, app, app.Release, config.Before); err != nil {
			return "", err
		}
		if err := o.releaseDeployment(ctx, app, deployment); err != nil {
			return "", err
		}
		return fmt.Sprintf("v%d", deployment.GetSequence()), o.hooks(ctx, app, app.Release, config.After)
	})
	if err != nil {
		return err
	}
	return o.prune(ctx, app, deployment)
}

func (o *operation) findDeployment(ctx context.Context, app *config.App) (*deploymentpb.Deployment, error) {
	if wanted := o.spec.GetDeploymentIds(); len(wanted) > 0 {
		answer, err := o.deployments.GetDeployment(ctx, &deploymentpb.GetDeploymentRequest{Id: wanted[0]})
		return answer.GetDeployment(), err
	}
	list, err := o.list(ctx, o.ref(app))
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		if d.GetStatus() == deploymentpb.Status_STATUS_SUCCEEDED {
			return d, nil
		}
	}
	return nil, errs.New(errs.NotFound, "app %s has no deployment in workspace %s that succeeded: `waypoint deploy` makes one",
		app.Name, o.project.Workspace)
}

// list returns the deployments that are not destroyed, newest first.
func (o *operation) list(ctx context.Context, ref *deploymentpb.AppRef) ([]*deploymentpb.Deployment, error) {
	answer, err := o.deployments.ListDeployments(ctx, &deploymentpb.ListDeploymentsRequest{App: ref, Limit: listLimit})
	if err != nil {
		return nil, fmt.Errorf("list deployments: %w", err)
	}
	return answer.GetDeployments(), nil
}

func (o *operation) releaseDeployment(ctx context.Context, app *config.App, d *deploymentpb.Deployment) error {
	name, body := use(app.Release)
	releaser, err := o.config.Plugins.Releaser(name)
	if releaser, err = found(app.Release, releaser, err); err != nil {
		return err
	}
	created, err := o.deployments.CreateRelease(ctx, &deploymentpb.CreateReleaseRequest{
		App: o.ref(app), Fence: o.fence, DeploymentId: d.GetId(), Plugin: name,
	})
	if err != nil {
		return fmt.Errorf("record the release: %w", err)
	}
	finish := &deploymentpb.FinishReleaseRequest{Id: created.GetRelease().GetId(), Fence: o.fence}
	released, err := releaser.Release(ctx, &plugin.ReleaseRequest{
		App: o.app(app), Body: body, ID: d.GetId(), Sequence: d.GetSequence(), Data: d.GetData(), Output: o.work,
	})
	if err == nil {
		finish.Url = released.URL
	}
	finish.Error = failure(err)
	recorded, cancel := recording(ctx)
	defer cancel()
	if _, ferr := o.deployments.FinishRelease(recorded, finish); ferr != nil && err == nil {
		return fmt.Errorf("record the release: %w", ferr)
	}
	return err
}

// prune destroys deployments that the job's retention does not keep. The
// release stands, so a failure of this stage is not one of the job: what is left
// is tried again after the next release.
func (o *operation) prune(ctx context.Context, app *config.App, released *deploymentpb.Deployment) error {
	retain := int(o.spec.GetPruneRetain())
	if retain == 0 {
		return nil
	}
	list, err := o.list(ctx, o.ref(app))
	if err != nil {
		return err
	}
	used, err := o.inUse(ctx, o.ref(app))
	if err != nil {
		return err
	}
	victims := unused(surplus(list, released, retain), used)
	if len(victims) == 0 {
		return nil
	}
	err = o.stage("prune", app.Name, func() (string, error) { return o.destroyAll(ctx, victims) })
	if ctx.Err() != nil || errs.Is(err, errs.StaleAttempt) {
		return err
	}
	return nil
}

// surplus returns the deployments beyond the newest retain that succeeded, one
// of which is the released one, and those that failed before it.
func surplus(list []*deploymentpb.Deployment, released *deploymentpb.Deployment, retain int) []*deploymentpb.Deployment {
	var victims []*deploymentpb.Deployment
	kept := 1
	for _, d := range list {
		switch {
		case d.GetId() == released.GetId():
		case d.GetStatus() == deploymentpb.Status_STATUS_SUCCEEDED && kept < retain:
			kept++
		case d.GetStatus() == deploymentpb.Status_STATUS_SUCCEEDED,
			d.GetStatus() == deploymentpb.Status_STATUS_FAILED && d.GetSequence() < released.GetSequence():
			victims = append(victims, d)
		}
	}
	return victims
}

// inUse returns the ids of the deployments that must not be pruned: the one that
// the app's users are led to now, which may be another job's, and those that
// they are about to be led to.
func (o *operation) inUse(ctx context.Context, ref *deploymentpb.AppRef) (map[string]bool, error) {
	answer, err := o.deployments.ListReleases(ctx, &deploymentpb.ListReleasesRequest{App: ref, Limit: listLimit})
	if err != nil {
		return nil, fmt.Errorf("list releases: %w", err)
	}
	used := map[string]bool{}
	current := false
	for _, release := range answer.GetReleases() { // newest first
		switch release.GetStatus() {
		case deploymentpb.Status_STATUS_RUNNING:
			used[release.GetDeploymentId()] = true
		case deploymentpb.Status_STATUS_SUCCEEDED:
			if !current {
				used[release.GetDeploymentId()], current = true, true
			}
		}
	}
	return used, nil
}

func unused(list []*deploymentpb.Deployment, used map[string]bool) []*deploymentpb.Deployment {
	return slices.DeleteFunc(list, func(d *deploymentpb.Deployment) bool { return used[d.GetId()] })
}
