package deployment

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/rpc/names"
	"waypoint/state"
)

// Status says how the apps that match are doing: one answer per app and
// workspace in which something was done to it, and one for an app to which
// nothing was done yet.
func (s *Service) Status(ctx context.Context, req *deploymentpb.StatusRequest) (*deploymentpb.StatusResponse, error) {
	filter, err := names.Filter(req.GetApp())
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	refs, err := appsIn(tx, filter)
	if err != nil {
		return nil, err
	}
	answer := &deploymentpb.StatusResponse{}
	for _, ref := range refs {
		answer.Apps = append(answer.Apps, appStatus(tx, ref))
	}
	return answer, nil
}

// appsIn lists the apps and workspaces that match, sorted.
func appsIn(tx *state.Tx, filter *deploymentpb.AppRef) ([]*deploymentpb.AppRef, error) {
	if filter.GetProject() != "" && tx.Project(filter.GetProject()) == nil {
		return nil, errs.New(errs.NotFound, "project %s does not exist: see \"waypoint project list\"", filter.GetProject())
	}
	var refs []*deploymentpb.AppRef
	known := false
	for _, project := range tx.Projects() {
		if filter.GetProject() != "" && project.GetName() != filter.GetProject() {
			continue
		}
		used := usedWorkspaces(tx, project.GetName())
		for _, app := range project.GetApps() {
			if filter.GetApp() != "" && app.GetName() != filter.GetApp() {
				continue
			}
			known = true
			for _, workspace := range matching(used[app.GetName()], filter.GetWorkspace()) {
				refs = append(refs, &deploymentpb.AppRef{Project: project.GetName(), App: app.GetName(), Workspace: workspace})
			}
		}
	}
	if !known && filter.GetApp() != "" {
		return nil, errs.New(errs.NotFound, "no app is named %s: see \"waypoint project list\"", filter.GetApp())
	}
	slices.SortFunc(refs, func(a, b *deploymentpb.AppRef) int {
		return cmp.Or(strings.Compare(a.GetProject(), b.GetProject()),
			strings.Compare(a.GetApp(), b.GetApp()), strings.Compare(a.GetWorkspace(), b.GetWorkspace()))
	})
	return refs, nil
}

// usedWorkspaces maps each app of a project to the workspaces in which
// something was done to it.
func usedWorkspaces(tx *state.Tx, project string) map[string][]string {
	used := map[string][]string{}
	for _, counters := range tx.ProjectCounters(project) {
		app := counters.GetApp()
		used[app.GetApp()] = append(used[app.GetApp()], app.GetWorkspace())
	}
	return used
}

// matching narrows the used workspaces to the one asked for. An app is always
// shown in some workspace, so that nobody misses it.
func matching(used []string, asked string) []string {
	if asked != "" {
		return []string{asked}
	}
	if len(used) == 0 {
		return []string{names.DefaultWorkspace}
	}
	return used
}

func appStatus(tx *state.Tx, ref *deploymentpb.AppRef) *deploymentpb.AppStatus {
	status := &deploymentpb.AppStatus{App: ref, Release: tx.CurrentRelease(ref)}
	if builds := tx.Builds(ref, 1); len(builds) > 0 {
		status.Build = builds[0]
	}
	live := map[string]bool{}
	for i, deployment := range tx.Deployments(ref, false, 0) {
		live[deployment.GetId()] = true
		if i == 0 {
			status.Deployment = deployment
		}
	}
	if status.Release != nil {
		status.Released = tx.Deployment(status.Release.GetDeploymentId())
	}
	for _, instance := range tx.Instances(ref, "", false) {
		if live[instance.GetDeploymentId()] {
			status.Instances = append(status.Instances, instance)
		}
	}
	summarize(status)
	if id := status.GetDeployment().GetId(); id != "" && !status.GetHealthy() {
		status.Summary += endedWords(tx.Instances(ref, id, true))
	}
	return status
}

// endedWords tells of instances that have ended, and how the last one did.
func endedWords(instances []*deploymentpb.Instance) string {
	ended := 0
	var newest *deploymentpb.Instance
	for _, instance := range instances {
		if instance.GetState() != deploymentpb.InstanceState_INSTANCE_STATE_EXITED {
			continue
		}
		ended++
		if !instance.GetChangedAt().AsTime().Before(newest.GetChangedAt().AsTime()) {
			newest = instance
		}
	}
	switch ended {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(", 1 ended with exit code %d", newest.GetExitCode())
	}
	return fmt.Sprintf(", %d ended, the newest with exit code %d", ended, newest.GetExitCode())
}

// summarize fills in the words and the verdict.
func summarize(status *deploymentpb.AppStatus) {
	deployment := status.GetDeployment()
	if deployment == nil {
		status.Summary = withoutDeployment(status.GetBuild())
		return
	}
	version := fmt.Sprintf("v%d", deployment.GetSequence())
	counted := instanceWords(status)
	switch deployment.GetStatus() {
	case deploymentpb.Status_STATUS_RUNNING:
		status.Summary = fmt.Sprintf("%s is being deployed: %s", version, counted)
	case deploymentpb.Status_STATUS_FAILED:
		status.Summary = fmt.Sprintf("%s failed: %s", version, firstLine(deployment.GetError()))
	default:
		status.Summary = counted
		status.Healthy = !deployment.GetEntrypoint() || count(status)[deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED] >= int(deployment.GetInstances())
	}
}

func withoutDeployment(build *deploymentpb.Build) string {
	switch build.GetStatus() {
	case deploymentpb.Status_STATUS_RUNNING:
		return "nothing deployed: a build is running"
	case deploymentpb.Status_STATUS_FAILED:
		return "nothing deployed: the newest build failed: " + firstLine(build.GetError())
	case deploymentpb.Status_STATUS_SUCCEEDED:
		return "nothing deployed: built, not deployed"
	}
	return "nothing deployed yet"
}

// instanceWords says how many of the newest deployment's instances are there.
func instanceWords(status *deploymentpb.AppStatus) string {
	wanted := status.GetDeployment().GetInstances()
	if !status.GetDeployment().GetEntrypoint() {
		if wanted == 0 {
			return "deployed without the entrypoint: the platform counts no instances"
		}
		verb := "runs it"
		if wanted != 1 {
			verb = "runs them"
		}
		return fmt.Sprintf("%s, no entrypoint: the platform %s", plural(wanted), verb)
	}
	counts := count(status)
	words := fmt.Sprintf("%d of %s attached", counts[deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED], plural(wanted))
	if n := counts[deploymentpb.InstanceState_INSTANCE_STATE_DETACHED]; n > 0 {
		words += fmt.Sprintf(", %d detached", n)
	}
	if n := counts[deploymentpb.InstanceState_INSTANCE_STATE_LOST]; n > 0 {
		whose := "its node"
		if n > 1 {
			whose = "their nodes"
		}
		words += fmt.Sprintf(", %d lost with %s", n, whose)
	}
	if n := wantingRestart(status); n > 0 {
		words += fmt.Sprintf(", %d to restart for a newer configuration", n)
	}
	return words
}

// count counts the newest deployment's instances by state.
func count(status *deploymentpb.AppStatus) map[deploymentpb.InstanceState]int {
	counts := map[deploymentpb.InstanceState]int{}
	for _, instance := range status.GetInstances() {
		if instance.GetDeploymentId() == status.GetDeployment().GetId() {
			counts[instance.GetState()]++
		}
	}
	return counts
}

// wantingRestart counts the newest deployment's instances that have not restarted
// for the newest configuration yet.
func wantingRestart(status *deploymentpb.AppStatus) int {
	n := 0
	for _, instance := range status.GetInstances() {
		if instance.GetDeploymentId() == status.GetDeployment().GetId() && len(instance.GetRestartWanted()) > 0 &&
			instance.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED {
			n++
		}
	}
	return n
}

func plural(n uint32) string {
	if n == 1 {
		return "1 instance"
	}
	return fmt.Sprintf("%d instances", n)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return names.Truncate(line, 200)
}
