package fsm

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/projectpb"
	"waypoint/errs"
	"waypoint/state"
)

// configSet makes all of its changes or none. The result names the variables
// that changed, and has the version of the last one that was set.
func configSet(o *op, c *commandpb.ConfigSet) (*commandpb.Result, error) {
	result := unchanged()
	named := make(map[variableID]bool, len(c.GetChanges()))
	for _, change := range c.GetChanges() {
		v := variableOf(change)
		if err := checkVariable(o, v, change); err != nil {
			return nil, err
		}
		if named[identity(v)] {
			return nil, errs.New(errs.Invalid, "variable %q is changed twice in one request", v.GetName())
		}
		named[identity(v)] = true
		if err := changeVariable(o, v, change, result); err != nil {
			return nil, err
		}
	}
	if scope := c.GetReplaceFileScope(); scope != nil {
		if err := dropUnnamed(o, scope, named, result); err != nil {
			return nil, err
		}
	}
	if err := checkFiles(o, c.GetChanges(), named); err != nil {
		return nil, err
	}
	return result, nil
}

// checkFiles refuses variables whose files collide with others' of the same
// scope and origin: of those none is narrower. It looks, once for each scope and
// origin, at what all changes of the request together have made.
func checkFiles(o *op, changes []*configpb.Change, named map[variableID]bool) error {
	seen := map[siblings]bool{}
	for _, change := range changes {
		if change.GetFile() == nil || change.GetDelete() {
			continue
		}
		v := variableOf(change)
		if seen[siblingsOf(v)] {
			continue
		}
		seen[siblingsOf(v)] = true
		list := slices.DeleteFunc(o.ConfigVariables(v.GetScope(), true), func(other *configpb.Variable) bool {
			return other.GetOrigin() != v.GetOrigin()
		})
		here, other := state.Collision(list)
		if here == nil {
			continue
		}
		if !named[identity(here)] {
			here, other = other, here
		}
		return errs.New(errs.Conflict, "variable %q cannot go to the file %s, because variable %q of the same scope goes to %s: "+
			"choose another path, or delete the other variable", here.GetName(), here.GetFile().GetPath(), other.GetName(), other.GetFile().GetPath())
	}
	return nil
}

// variableOf is the variable that a change wants, without version and time.
func variableOf(change *configpb.Change) *configpb.Variable {
	v := &configpb.Variable{
		Scope:  change.GetScope(),
		Name:   change.GetName(),
		Origin: change.GetOrigin(),
		Sealed: change.GetSealed(),
		File:   change.GetFile(),
	}
	if v.Scope == nil {
		v.Scope = &configpb.Scope{}
	}
	if v.Origin == configpb.Origin_ORIGIN_UNSPECIFIED {
		v.Origin = configpb.Origin_ORIGIN_SET
	}
	return v
}

// variableID tells the variables of one request apart.
type variableID struct {
	siblings
	name string
}

func identity(v *configpb.Variable) variableID { return variableID{siblingsOf(v), v.GetName()} }

// siblings is what the variables of one scope and origin have in common.
type siblings struct {
	project, app, workspace string
	origin                  configpb.Origin
}

func siblingsOf(v *configpb.Variable) siblings {
	s := v.GetScope()
	return siblings{s.GetProject(), s.GetApp(), s.GetWorkspace(), v.GetOrigin()}
}

func checkVariable(o *op, v *configpb.Variable, change *configpb.Change) error {
	switch {
	case v.GetName() == "":
		return errs.New(errs.Invalid, "a variable needs a name")
	case change.GetValue() != "":
		return errs.New(errs.Invalid, "the value of %q is not sealed", v.GetName())
	case !change.GetDelete() && len(change.GetSealed()) == 0:
		return errs.New(errs.Invalid, "variable %q has no value", v.GetName())
	case v.GetOrigin() == configpb.Origin_ORIGIN_FILE && v.GetScope().GetApp() == "":
		return errs.New(errs.Invalid, "a project file sets variables of apps only, not %q", v.GetName())
	}
	return checkScope(o, v.GetScope())
}

func checkScope(o *op, s *configpb.Scope) error {
	switch {
	case s.GetProject() == "" && s.GetApp() != "":
		return errs.New(errs.Invalid, "a scope with app %q needs a project", s.GetApp())
	case s.GetProject() == "":
		return nil
	}
	return o.checkApp(s.GetProject(), s.GetApp())
}

func changeVariable(o *op, v *configpb.Variable, change *configpb.Change, result *commandpb.Result) error {
	old := o.Variable(v.GetScope(), v.GetName(), v.GetOrigin())
	if change.IfVersion != nil && old.GetVersion() != change.GetIfVersion() {
		return errs.New(errs.Conflict, "variable %q is %s, not %s: read it again",
			v.GetName(), versionText(old.GetVersion()), versionText(change.GetIfVersion()))
	}
	switch {
	case change.GetDelete() && old == nil:
		return nil
	case change.GetDelete():
		state.Delete(o.WriteTx, old)
	case old != nil && bytes.Equal(old.GetSealed(), v.GetSealed()) && proto.Equal(old.GetFile(), v.GetFile()):
		result.Version = old.GetVersion()
		return nil
	default:
		v.Version = old.GetVersion() + 1
		v.UpdatedAt = o.now
		state.Put(o.WriteTx, v)
		result.Version = v.GetVersion()
	}
	result.Unchanged = false
	result.Ids = append(result.Ids, v.GetName())
	return nil
}

func versionText(version uint64) string {
	if version == 0 {
		return "not there"
	}
	return fmt.Sprintf("at version %d", version)
}

// dropUnnamed deletes what the project file no longer says of the scope.
func dropUnnamed(o *op, scope *configpb.Scope, named map[variableID]bool, result *commandpb.Result) error {
	if scope.GetApp() == "" {
		return errs.New(errs.Invalid, "a project file sets variables of apps only")
	}
	if err := checkScope(o, scope); err != nil {
		return err
	}
	for _, v := range o.ConfigVariables(scope, true) {
		if v.GetOrigin() != configpb.Origin_ORIGIN_FILE || named[identity(v)] {
			continue
		}
		state.Delete(o.WriteTx, v)
		result.Unchanged = false
		result.Ids = append(result.Ids, v.GetName())
	}
	return nil
}

// configPolicySet replaces an app's policy. The result has the project's
// version.
func configPolicySet(o *op, c *commandpb.ConfigPolicySet) (*commandpb.Result, error) {
	if c.GetApp() == "" {
		return nil, errs.New(errs.Invalid, "a policy is of an app")
	}
	if err := o.checkApp(c.GetProject(), c.GetApp()); err != nil {
		return nil, err
	}
	old := o.Project(c.GetProject())
	policy := c.GetPolicy()
	if proto.Equal(policy, &configpb.Policy{}) {
		policy = nil
	}
	if proto.Equal(o.ConfigPolicy(c.GetProject(), c.GetApp()), policy) {
		result := unchanged(c.GetProject())
		result.Version = old.GetVersion()
		return result, nil
	}
	row := proto.CloneOf(old)
	at := slices.IndexFunc(row.GetApps(), func(a *projectpb.App) bool { return a.GetName() == c.GetApp() })
	row.Apps[at].ConfigPolicy = policy
	row.Version++
	row.UpdatedAt = o.now
	state.Put(o.WriteTx, row)
	result := done(c.GetProject())
	result.Version = row.GetVersion()
	return result, nil
}
