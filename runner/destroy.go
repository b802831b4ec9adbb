package runner

import (
	"context"
	"fmt"

	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/errs"
	"waypoint/plugin"
)

// destroy destroys the deployments that the job names, or all of its app in its
// workspace. It needs no project file.
func (o *operation) destroy(ctx context.Context) error {
	return o.stage("destroy", o.spec.GetApp(), func() (string, error) {
		if len(o.spec.GetDeploymentIds()) == 0 {
			return o.destroyEvery(ctx)
		}
		var list []*deploymentpb.Deployment
		for _, id := range o.spec.GetDeploymentIds() {
			answer, err := o.deployments.GetDeployment(ctx, &deploymentpb.GetDeploymentRequest{Id: id})
			if err != nil {
				return "", err
			}
			d := answer.GetDeployment()
			if d.GetApp().GetProject() != o.spec.GetProject() {
				return "", errs.New(errs.Invalid, "deployment %s is not of project %s", id, o.spec.GetProject())
			}
			if d.GetStatus() != deploymentpb.Status_STATUS_DESTROYED {
				list = append(list, d)
			}
		}
		list, err := o.stillSurplus(ctx, list)
		if err != nil {
			return "", err
		}
		return o.destroyAll(ctx, list)
	})
}

// stillSurplus leaves out, of what was to be pruned when the job was queued,
// what has come into use since. What a user names is destroyed in any case.
func (o *operation) stillSurplus(ctx context.Context, list []*deploymentpb.Deployment) ([]*deploymentpb.Deployment, error) {
	if o.spec.GetPruneRetain() == 0 || len(list) == 0 {
		return list, nil
	}
	used, err := o.inUse(ctx, list[0].GetApp())
	return unused(list, used), err
}

// destroyEvery goes on until the list shows nothing that this job has not dealt
// with.
func (o *operation) destroyEvery(ctx context.Context) (string, error) {
	ref := &deploymentpb.AppRef{Project: o.spec.GetProject(), App: o.spec.GetApp(), Workspace: o.spec.GetWorkspace()}
	seen := map[string]bool{}
	var all []*deploymentpb.Deployment
	for {
		list, err := o.list(ctx, ref)
		if err != nil {
			return "", err
		}
		var fresh []*deploymentpb.Deployment
		for _, d := range list {
			if !seen[d.GetId()] {
				seen[d.GetId()] = true
				fresh = append(fresh, d)
			}
		}
		if all = append(all, fresh...); len(fresh) == 0 {
			return o.summary(all), nil
		}
		if _, err := o.destroyAll(ctx, fresh); err != nil {
			return "", err
		}
	}
}

// here tells whether this machine can destroy the deployment.
func (o *operation) here(d *deploymentpb.Deployment) bool {
	return d.GetHost() == "" || d.GetHost() == o.config.Host
}

// destroyAll destroys what it can and queues jobs for what other hosts must
// destroy. It goes on after a failure and returns the first one.
func (o *operation) destroyAll(ctx context.Context, list []*deploymentpb.Deployment) (string, error) {
	var first error
	away := map[string][]*deploymentpb.Deployment{}
	for _, d := range list {
		if !o.here(d) {
			away[d.GetHost()] = append(away[d.GetHost()], d)
			continue
		}
		if err := o.destroyOne(ctx, d); err != nil {
			o.printf("destroy v%d: %v\n", d.GetSequence(), err)
			if first == nil {
				first = fmt.Errorf("destroy v%d: %w", d.GetSequence(), err)
			}
		}
		if ctx.Err() != nil {
			return "", first
		}
	}
	for host, there := range away {
		if err := o.delegate(ctx, host, there); err != nil && first == nil {
			first = fmt.Errorf("queue a job for host %s: %w", host, err)
		}
	}
	return o.summary(list), first
}

func (o *operation) summary(list []*deploymentpb.Deployment) string {
	here, away := 0, 0
	for _, d := range list {
		if o.here(d) {
			here++
		} else {
			away++
		}
	}
	text := fmt.Sprintf("%d destroyed", here)
	if away > 0 {
		text += fmt.Sprintf(", %d left to jobs on their hosts", away)
	}
	return text
}

func (o *operation) destroyOne(ctx context.Context, d *deploymentpb.Deployment) error {
	platform, err := o.config.Plugins.Platform(d.GetPlugin())
	if err != nil {
		return err
	}
	ref := d.GetApp()
	err = platform.Destroy(ctx, &plugin.DestroyRequest{
		App: plugin.App{Project: ref.GetProject(), Name: ref.GetApp(), Workspace: ref.GetWorkspace()},
		ID:  d.GetId(), Data: d.GetData(), Output: o.work,
	})
	if err != nil {
		return err
	}
	recorded, cancel := recording(ctx)
	defer cancel()
	_, err = o.deployments.DestroyDeployment(recorded, &deploymentpb.DestroyDeploymentRequest{Id: d.GetId(), Fence: o.fence})
	if err != nil {
		return fmt.Errorf("record it: %w", err)
	}
	o.printf("destroyed v%d of %s\n", d.GetSequence(), ref.GetApp())
	return nil
}

// delegate queues a job that destroys deployments on another host, for those
// that no job is queued for yet.
func (o *operation) delegate(ctx context.Context, host string, list []*deploymentpb.Deployment) error {
	queued, err := o.jobs.List(ctx, &jobpb.ListRequest{
		Project: o.spec.GetProject(), Limit: listLimit,
		States: []jobpb.State{jobpb.State_STATE_QUEUED, jobpb.State_STATE_RUNNING},
	})
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, job := range queued.GetJobs() {
		if job.GetSpec().GetTarget().GetHost() == host {
			for _, id := range job.GetSpec().GetDeploymentIds() {
				known[id] = true
			}
		}
	}
	spec := &jobpb.Spec{
		Operation: jobpb.Operation_OPERATION_DESTROY, Project: o.spec.GetProject(), App: o.spec.GetApp(),
		Workspace: o.spec.GetWorkspace(), Target: &jobpb.Target{Host: host}, MaxAttempts: 3,
		PruneRetain: o.spec.GetPruneRetain(), // tells a prune from what a user has asked for
	}
	for _, d := range list {
		if !known[d.GetId()] {
			spec.DeploymentIds = append(spec.DeploymentIds, d.GetId())
			spec.Plugin = d.GetPlugin()
		}
	}
	if len(spec.DeploymentIds) == 0 {
		return nil
	}
	answer, err := o.jobs.Submit(ctx, &jobpb.SubmitRequest{Spec: spec})
	if err != nil {
		return err
	}
	o.printf("job %s will destroy %d deployments on host %s\n", answer.GetJob().GetId(), len(spec.DeploymentIds), host)
	return nil
}
