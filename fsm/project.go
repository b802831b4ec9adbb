package fsm

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/projectpb"
	"waypoint/errs"
	"waypoint/state"
)

// projectApply makes a project or adds apps to it. The result has the
// project's version.
func projectApply(o *op, c *commandpb.ProjectApply) (*commandpb.Result, error) {
	if c.GetName() == "" || slices.Contains(c.GetApps(), "") {
		return nil, errs.New(errs.Invalid, "a project and its apps need names")
	}
	old := o.Project(c.GetName())
	row := &projectpb.Project{Name: c.GetName(), CreatedAt: o.now}
	if old != nil {
		row = proto.CloneOf(old)
	}
	for _, name := range c.GetApps() {
		if !hasApp(row, name) {
			row.Apps = append(row.Apps, &projectpb.App{Name: name, CreatedAt: o.now})
		}
	}
	if old != nil && len(row.GetApps()) == len(old.GetApps()) {
		result := unchanged(c.GetName())
		result.Version = old.GetVersion()
		return result, nil
	}
	slices.SortFunc(row.Apps, func(a, b *projectpb.App) int { return strings.Compare(a.GetName(), b.GetName()) })
	row.Version++
	row.UpdatedAt = o.now
	state.Put(o.WriteTx, row)
	result := done(c.GetName())
	result.Version = row.GetVersion()
	return result, nil
}

func hasApp(p *projectpb.Project, name string) bool {
	return slices.ContainsFunc(p.GetApps(), func(a *projectpb.App) bool { return a.GetName() == name })
}

// projectDestroy forgets a project and everything that was recorded for it.
func projectDestroy(o *op, c *commandpb.ProjectDestroy) (*commandpb.Result, error) {
	project := o.Project(c.GetName())
	if project == nil {
		return nil, errs.New(errs.NotFound, "there is no project %q", c.GetName())
	}
	ref := &deploymentpb.AppRef{Project: c.GetName()}
	if left := o.Deployments(ref, false, 1); len(left) > 0 {
		return nil, errs.New(errs.Conflict, "v%d of app %q in workspace %q is not destroyed: destroy the project's deployments first",
			left[0].GetSequence(), left[0].GetApp().GetApp(), left[0].GetApp().GetWorkspace())
	}
	jobs := o.JobsOfProject(c.GetName())
	for _, job := range jobs {
		if !state.JobEnded(job) {
			return nil, errs.New(errs.Conflict, "job %s of project %q has not ended: cancel it first", job.GetId(), c.GetName())
		}
	}
	for _, job := range jobs {
		deleteJob(o, job)
	}
	drop(o, o.ProjectVariables(c.GetName()))
	drop(o, o.Builds(ref, 0))
	drop(o, o.Artifacts(ref, 0))
	drop(o, o.Releases(ref, 0))
	drop(o, o.ExecSessions(ref, "", false, 0))
	drop(o, o.Instances(ref, "", true))
	drop(o, o.Deployments(ref, true, 0))
	drop(o, o.ProjectCounters(c.GetName()))
	state.Delete(o.WriteTx, project)
	return done(c.GetName()), nil
}

// checkApp refuses what is for a project or an app that does not exist. An
// empty app means the project itself.
func (o *op) checkApp(project, app string) error {
	row := o.Project(project)
	if row == nil {
		return errs.New(errs.NotFound, "there is no project %q", project)
	}
	if app != "" && !hasApp(row, app) {
		return errs.New(errs.NotFound, "project %q has no app %q", project, app)
	}
	return nil
}

// checkRef refuses an operation on anything but an existing app in a workspace.
func (o *op) checkRef(ref *deploymentpb.AppRef) error {
	if ref.GetProject() == "" || ref.GetApp() == "" || ref.GetWorkspace() == "" {
		return errs.New(errs.Invalid, "an operation needs a project, an app and a workspace")
	}
	return o.checkApp(ref.GetProject(), ref.GetApp())
}

// count gives an operation of the app in the workspace its number.
func (o *op) count(ref *deploymentpb.AppRef, counter func(*commandpb.Counters) *uint64) uint64 {
	row := &commandpb.Counters{App: ref}
	if old := o.Counters(ref); old != nil {
		row = proto.CloneOf(old)
	}
	n := counter(row)
	*n++
	row.ActiveAt = o.now
	state.Put(o.WriteTx, row)
	return *n
}
