package state

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/projectpb"
)

func projectTable() *table[*projectpb.Project] {
	return &table[*projectpb.Project]{
		name: "projects",
		id:   func(p *projectpb.Project) []byte { return key{}.str(p.GetName()) },
	}
}

// countersTable numbers the operations of each app in each workspace. Which
// workspaces there are follows from it.
func countersTable() *table[*commandpb.Counters] {
	return &table[*commandpb.Counters]{
		name: "counters",
		id:   func(c *commandpb.Counters) []byte { return refKey(c.GetApp()) },
	}
}

type projectQueries struct{ *reader }

// Project returns the project of that name.
func (q projectQueries) Project(name string) *projectpb.Project {
	return q.tables.projects.get(q.reader, key{}.str(name))
}

// Projects lists all projects, sorted by name.
func (q projectQueries) Projects() []*projectpb.Project {
	return slices.Collect(q.tables.projects.ascend(q.reader, primary, nil))
}

// Counters returns the counters of the app in the workspace.
func (q projectQueries) Counters(ref *deploymentpb.AppRef) *commandpb.Counters {
	return q.tables.counters.get(q.reader, refKey(ref))
}

// ProjectCounters lists the counters of a project's apps in all workspaces.
func (q projectQueries) ProjectCounters(project string) []*commandpb.Counters {
	return slices.Collect(q.tables.counters.ascend(q.reader, primary, refPrefix(&deploymentpb.AppRef{Project: project})))
}

// Workspaces lists the workspaces in which something was done to a project, or
// to any if project is empty, sorted by name. A workspace exists by being
// used: by an operation or by a variable that is narrowed to it.
func (q projectQueries) Workspaces(project string) []*projectpb.Workspace {
	found := workspaceSet{}
	for c := range q.tables.counters.ascend(q.reader, primary, refPrefix(&deploymentpb.AppRef{Project: project})) {
		found.add(c.GetApp().GetWorkspace(), c.GetApp().GetProject(), c.GetActiveAt())
	}
	for v := range q.tables.config.ascend(q.reader, primary, scopePrefix(&configpb.Scope{Project: project})) {
		if v.GetScope().GetWorkspace() != "" {
			found.add(v.GetScope().GetWorkspace(), v.GetScope().GetProject(), v.GetUpdatedAt())
		}
	}
	return found.sorted()
}

type workspaceSet map[string]*projectpb.Workspace

func (s workspaceSet) add(name, project string, at *timestamppb.Timestamp) {
	w := s[name]
	if w == nil {
		w = &projectpb.Workspace{Name: name}
		s[name] = w
	}
	if project != "" && !slices.Contains(w.Projects, project) {
		w.Projects = append(w.Projects, project)
	}
	if w.ActiveAt == nil || at.AsTime().After(w.ActiveAt.AsTime()) {
		w.ActiveAt = at
	}
}

func (s workspaceSet) sorted() []*projectpb.Workspace {
	list := make([]*projectpb.Workspace, 0, len(s))
	for _, w := range s {
		slices.Sort(w.Projects)
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b *projectpb.Workspace) int { return strings.Compare(a.Name, b.Name) })
	return list
}
