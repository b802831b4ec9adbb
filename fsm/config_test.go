package fsm_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/errs"
)

func toFile(change *configpb.Change, path string) *configpb.Change {
	change.File = &configpb.File{Path: path, Mode: 0o600}
	return change
}

func fromFile(change *configpb.Change) *configpb.Change {
	change.Origin = configpb.Origin_ORIGIN_FILE
	return change
}

func deleted(scope *configpb.Scope, name string) *configpb.Change {
	return &configpb.Change{Scope: scope, Name: name, Delete: true}
}

func changes(list ...*configpb.Change) *commandpb.ConfigSet {
	return &commandpb.ConfigSet{Changes: list}
}

func TestChangingOnlyWhereAVariableGoesIsAChange(t *testing.T) {
	m := newShop(t)
	web := &configpb.Scope{Project: "shop", App: "web"}
	version := uint64(0)
	for _, c := range []struct {
		name string
		file *configpb.File
	}{
		{"a file", &configpb.File{Path: "/a", Mode: 0o600}},
		{"another path", &configpb.File{Path: "/b", Mode: 0o600}},
		{"another mode", &configpb.File{Path: "/b", Mode: 0o640}},
		{"another owner", &configpb.File{Path: "/b", Mode: 0o640, Owner: "app"}},
		{"the environment", nil},
	} {
		version++
		for _, again := range []bool{false, true} {
			change := set(web, "K", "same")
			change.File = c.file
			r := m.do(changes(change))
			if r.GetUnchanged() != again || r.GetVersion() != version || r.GetError().GetKind() != 0 {
				t.Errorf("%s, again %v: result is %v, want version %d", c.name, again, r, version)
			}
		}
		if v := m.store.Read().Variable(web, "K", configpb.Origin_ORIGIN_SET); !proto.Equal(v.GetFile(), c.file) {
			t.Errorf("%s: the variable is %v", c.name, v)
		}
	}
}

func TestFilesOfOneScopeMustNotCollide(t *testing.T) {
	web := &configpb.Scope{Project: "shop", App: "web"}
	prod := &configpb.Scope{Project: "shop", App: "web", Workspace: "prod"}
	there := toFile(set(web, "A", "x"), "/etc/app")
	for name, c := range map[string]struct {
		set     *commandpb.ConfigSet
		refused bool
	}{
		"the same path":            {changes(toFile(set(web, "B", "x"), "/etc/app")), true},
		"a file in place of a dir": {changes(toFile(set(web, "B", "x"), "/etc")), true},
		"a dir in place of a file": {changes(toFile(set(web, "B", "x"), "/etc/app/b")), true},
		"two in one request":       {changes(toFile(set(web, "B", "x"), "/b"), toFile(set(web, "C", "x"), "/b")), true},
		"with others between them": {changes(toFile(set(web, "D", "x"), "/etc/app-b"), toFile(set(web, "C", "x"), "/etc/app/c"), toFile(set(web, "B", "x"), "/etc/app.b")), true},
		"only one of several":      {changes(set(web, "E", "x"), toFile(set(web, "D", "x"), "/etc/d"), fromFile(toFile(set(web, "C", "x"), "/c")), fromFile(toFile(set(web, "B", "x"), "/c/b"))), true},
		"the other is moved away":  {changes(toFile(set(web, "B", "x"), "/etc/app"), toFile(set(web, "A", "x"), "/a")), false},
		"the other is deleted":     {changes(toFile(set(web, "B", "x"), "/etc/app"), deleted(web, "A")), false},
		"the other leaves the file system": {
			changes(toFile(set(web, "B", "x"), "/etc/app"), set(web, "A", "x")), false},
		"the same variable":     {changes(toFile(set(web, "A", "y"), "/etc/app")), false},
		"another path":          {changes(toFile(set(web, "B", "x"), "/etc/app.conf")), false},
		"another workspace":     {changes(toFile(set(prod, "B", "x"), "/etc/app")), false},
		"a wider scope":         {changes(toFile(set(nil, "B", "x"), "/etc/app")), false},
		"another origin":        {changes(fromFile(toFile(set(web, "B", "x"), "/etc/app"))), false},
		"a deletion says where": {changes(toFile(deleted(web, "B"), "/etc/app")), false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newShop(t)
			m.ok(m.do(changes(there)))
			result := m.do(c.set)
			if c.refused {
				m.refused(errs.Conflict, result)
				if text := result.GetError().GetMessage(); strings.HasPrefix(text, `variable "A"`) {
					t.Errorf("it blames the one that was there: %s", text)
				}
				if left := m.store.Read().ProjectVariables("shop"); len(left) != 1 {
					t.Errorf("a part was done: %v", left)
				}
			} else if result.GetError().GetKind() != 0 {
				t.Errorf("refused: %v", result.GetError())
			}
		})
	}
}

func TestAProjectFileMayGiveAPathToAnotherVariable(t *testing.T) {
	m := newShop(t)
	web := &configpb.Scope{Project: "shop", App: "web"}
	m.ok(m.do(&commandpb.ConfigSet{Changes: []*configpb.Change{fromFile(toFile(set(web, "OLD", "x"), "/etc/app"))}, ReplaceFileScope: web}))
	m.ok(m.do(&commandpb.ConfigSet{Changes: []*configpb.Change{fromFile(toFile(set(web, "NEW", "x"), "/etc/app"))}, ReplaceFileScope: web}), "NEW", "OLD")
}

func TestPolicyIsReplacedAsAWhole(t *testing.T) {
	m := newShop(t)
	policy := func(p *configpb.Policy) *commandpb.Result {
		m.pass(time.Second)
		return m.do(&commandpb.ConfigPolicySet{Project: "shop", App: "web", Policy: p})
	}
	before := m.store.Read().Project("shop")
	m.unchanged(policy(nil), "shop")
	m.unchanged(policy(&configpb.Policy{}), "shop")
	m.ok(policy(&configpb.Policy{Reload: configpb.Reload_RELOAD_SIGNAL, Signal: "HUP"}), "shop")
	m.unchanged(policy(&configpb.Policy{Reload: configpb.Reload_RELOAD_SIGNAL, Signal: "HUP"}), "shop")
	r := policy(&configpb.Policy{MaxUnavailable: "2"})
	row := m.store.Read().Project("shop")
	if r.GetVersion() != before.GetVersion()+2 || row.GetVersion() != r.GetVersion() || !row.GetUpdatedAt().AsTime().Equal(m.now) {
		t.Errorf("result %v, project %v", r, row)
	}
	if got := m.store.Read().ConfigPolicy("shop", "web"); !proto.Equal(got, &configpb.Policy{MaxUnavailable: "2"}) {
		t.Errorf("the policy is %v", got)
	}
	m.ok(m.do(&commandpb.ProjectApply{Name: "shop", Apps: []string{"worker"}}), "shop")
	if got := m.store.Read().ConfigPolicy("shop", "web"); got.GetMaxUnavailable() != "2" {
		t.Errorf("after another app came the policy is %v", got)
	}
	m.ok(policy(nil), "shop")
	if got := m.store.Read().ConfigPolicy("shop", "web"); got != nil {
		t.Errorf("restored, the policy is %v", got)
	}
	if before.GetApps()[0].GetConfigPolicy() != nil {
		t.Error("a row that readers hold was changed")
	}
	m.refused(errs.Invalid, m.do(&commandpb.ConfigPolicySet{Project: "shop"}))
	m.refused(errs.NotFound, m.do(&commandpb.ConfigPolicySet{Project: "shop", App: "none"}))
	m.refused(errs.NotFound, m.do(&commandpb.ConfigPolicySet{Project: "none", App: "web"}))
}
