package state

import (
	"cmp"
	"slices"
	"strings"

	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
)

// A variable is told from others by scope, name and origin: a value that was
// set and one from the project file stand side by side.
func configTable() *table[*configpb.Variable] {
	return &table[*configpb.Variable]{
		name: "config",
		id: func(v *configpb.Variable) []byte {
			return variableKey(v.GetScope(), v.GetName(), v.GetOrigin())
		},
	}
}

func variableKey(scope *configpb.Scope, name string, origin configpb.Origin) key {
	return scopeKey(scope).str(name).num(uint64(origin))
}

// scopeKey begins with the project, so that all of a project share a prefix.
func scopeKey(s *configpb.Scope) key {
	return key{}.str(s.GetProject()).str(s.GetApp()).str(s.GetWorkspace())
}

// scopePrefix is the key of the project, or of everything without one.
func scopePrefix(s *configpb.Scope) key {
	if s.GetProject() == "" {
		return nil
	}
	return key{}.str(s.GetProject())
}

type configQueries struct{ *reader }

// Variable returns one variable of exactly the scope and origin.
func (q configQueries) Variable(scope *configpb.Scope, name string, origin configpb.Origin) *configpb.Variable {
	return q.tables.config.get(q.reader, variableKey(scope, name, origin))
}

// ConfigVariables lists the variables of the scope and, unless exact is set,
// the wider ones that apply to it. They are sorted by name and then from the
// widest to the narrowest: of two of a name the later one wins.
func (q configQueries) ConfigVariables(scope *configpb.Scope, exact bool) []*configpb.Variable {
	return q.variables(scope, exact, func(s *configpb.Scope) key { return scopeKey(s) })
}

// ConfigVariablesNamed lists those of ConfigVariables that have the name.
func (q configQueries) ConfigVariablesNamed(scope *configpb.Scope, exact bool, name string) []*configpb.Variable {
	return q.variables(scope, exact, func(s *configpb.Scope) key { return scopeKey(s).str(name) })
}

func (q configQueries) variables(scope *configpb.Scope, exact bool, prefix func(*configpb.Scope) key) []*configpb.Variable {
	scopes := []*configpb.Scope{scope}
	if !exact {
		scopes = widening(scope)
	}
	var list []*configpb.Variable
	for _, s := range scopes {
		list = append(list, slices.Collect(q.tables.config.ascend(q.reader, primary, prefix(s)))...)
	}
	slices.SortStableFunc(list, func(a, b *configpb.Variable) int {
		return cmp.Or(strings.Compare(a.GetName(), b.GetName()), cmp.Compare(breadth(a), breadth(b)))
	})
	return list
}

// EffectiveConfig returns the variables that an instance of the app in the
// workspace gets, one of each name, sorted by name, and the index at which
// they were read. Of variables whose files collide it is the narrowest, so
// that all files can be written.
func (q configQueries) EffectiveConfig(ref *deploymentpb.AppRef) (vars []*configpb.Variable, index uint64) {
	list := q.ConfigVariables(&configpb.Scope{
		Project: ref.GetProject(), App: ref.GetApp(), Workspace: ref.GetWorkspace(),
	}, false)
	for _, v := range list {
		if n := len(vars); n > 0 && vars[n-1].GetName() == v.GetName() {
			vars[n-1] = v
			continue
		}
		vars = append(vars, v)
	}
	return withoutCovered(vars), metaQueries(q).Meta().Index
}

// ConfigPolicy returns the app's policy as it was set; nil means the default.
func (q configQueries) ConfigPolicy(project, app string) *configpb.Policy {
	for _, a := range projectQueries(q).Project(project).GetApps() {
		if a.GetName() == app {
			return a.GetConfigPolicy()
		}
	}
	return nil
}

// ProjectVariables lists all variables of a project and of its apps.
func (q configQueries) ProjectVariables(project string) []*configpb.Variable {
	return slices.Collect(q.tables.config.ascend(q.reader, primary, key{}.str(project)))
}

// widening lists the scopes whose variables apply to s: the same or wider in
// each field. An app without a project is no scope.
func widening(s *configpb.Scope) []*configpb.Scope {
	levels := []*configpb.Scope{{}}
	if s.GetProject() != "" {
		levels = append(levels, &configpb.Scope{Project: s.GetProject()})
	}
	if s.GetProject() != "" && s.GetApp() != "" {
		levels = append(levels, &configpb.Scope{Project: s.GetProject(), App: s.GetApp()})
	}
	var list []*configpb.Scope
	for _, level := range levels {
		list = append(list, level)
		if s.GetWorkspace() != "" {
			list = append(list, &configpb.Scope{
				Project: level.GetProject(), App: level.GetApp(), Workspace: s.GetWorkspace(),
			})
		}
	}
	return list
}

// breadth orders the variables that apply to one app in one workspace from the
// widest to the narrowest: global, project, app by file, app by hand; within
// each, one that is narrowed to the workspace is narrower.
func breadth(v *configpb.Variable) int {
	s := v.GetScope()
	level := 0
	switch {
	case s.GetApp() != "" && v.GetOrigin() != configpb.Origin_ORIGIN_FILE:
		level = 3
	case s.GetApp() != "":
		level = 2
	case s.GetProject() != "":
		level = 1
	}
	if s.GetWorkspace() != "" {
		return 2*level + 1
	}
	return 2 * level
}
