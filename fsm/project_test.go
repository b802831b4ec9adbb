package fsm_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/api/jobpb"
	"waypoint/errs"
)

func TestApplyingAProjectAddsApps(t *testing.T) {
	m := newMachine(t)
	m.ok(m.do(&commandpb.ProjectApply{Name: "p", Apps: []string{"b", "a", "b"}}), "p")
	m.pass(time.Second)
	m.unchanged(m.do(&commandpb.ProjectApply{Name: "p", Apps: []string{"a"}}), "p")
	m.ok(m.do(&commandpb.ProjectApply{Name: "p", Apps: []string{"aa"}}))
	p := m.store.Read().Project("p")
	if len(p.GetApps()) != 3 || p.GetApps()[1].GetName() != "aa" || p.GetVersion() != 2 {
		t.Errorf("the project is %v", p)
	}
	if !p.GetUpdatedAt().AsTime().Equal(m.now) || !p.GetCreatedAt().AsTime().Before(m.now) {
		t.Errorf("its times are %v", p)
	}
	m.ok(m.do(&commandpb.ProjectApply{Name: "empty"}))
	m.unchanged(m.do(&commandpb.ProjectApply{Name: "empty"}))
	m.refused(errs.Invalid, m.do(&commandpb.ProjectApply{}))
	m.refused(errs.Invalid, m.do(&commandpb.ProjectApply{Name: "p", Apps: []string{""}}))
}

func TestDestroyingAProjectLeavesNothingOfIt(t *testing.T) {
	m := newShop(t)
	m.ok(m.do(&commandpb.ProjectApply{Name: "shopping", Apps: []string{"web"}}))
	before := m.snapshotOf("shopping")
	m.deployed("d1")
	m.attached("i1", "d1", 1)
	m.ok(m.execStart(node1, "running"))
	m.ok(m.execStart(node1, "over"))
	m.ok(m.execEnd(node1, "over", &execpb.Exit{}, ""))
	elsewhere := &deploymentpb.AppRef{Project: "shopping", App: "web", Workspace: "default"}
	m.ok(m.as(node1, &commandpb.ExecStart{Session: &execpb.Session{Id: "other", App: elsewhere, InstanceId: "i2"}}))
	m.ok(m.do(&commandpb.ConfigSet{Changes: []*configpb.Change{{Scope: &configpb.Scope{Project: "shop"}, Name: "K", Sealed: []byte("x")}}}))
	m.ok(m.do(&commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "b1", App: shopRef()}}))
	m.ok(m.do(&commandpb.BuildFinish{Id: "b1", Artifact: &deploymentpb.Artifact{Id: "a1"}}))
	m.ok(m.do(&commandpb.ReleaseCreate{Release: &deploymentpb.Release{Id: "r1", App: shopRef(), DeploymentId: "d1"}}))
	m.withRunner("r")
	m.running("j1", "r", spec(jobpb.Operation_OPERATION_BUILD))

	m.refused(errs.Conflict, m.do(&commandpb.ProjectDestroy{Name: "shop"}))
	m.ok(m.do(&commandpb.DeploymentDestroy{Id: "d1"}))
	m.refused(errs.Conflict, m.do(&commandpb.ProjectDestroy{Name: "shop"}))
	m.ok(m.do(&commandpb.JobFinish{Fence: fenceOf("j1", 1), State: jobpb.State_STATE_SUCCEEDED, OutputZstd: []byte("z")}))
	m.ok(m.do(&commandpb.ProjectDestroy{Name: "shop"}), "shop")

	tx := m.store.Read()
	ref := &deploymentpb.AppRef{Project: "shop"}
	left := len(tx.Builds(ref, 0)) + len(tx.Artifacts(ref, 0)) + len(tx.Deployments(ref, true, 0)) + len(tx.Releases(ref, 0)) +
		len(tx.Instances(ref, "", true)) + len(tx.JobsOfProject("shop")) + len(tx.ProjectVariables("shop")) +
		len(tx.ProjectCounters("shop")) + len(tx.Workspaces("shop")) +
		len(tx.ExecSessions(ref, "", false, 0)) + len(tx.ExecSessionsIn("i1"))
	if left != 0 || tx.Project("shop") != nil || tx.JobOutput("j1") != nil {
		t.Errorf("%d rows are left", left)
	}
	if !proto.Equal(before, m.snapshotOf("shopping")) || tx.ExecSession("other") == nil {
		t.Error("another project was touched")
	}
	m.refused(errs.NotFound, m.do(&commandpb.ProjectDestroy{Name: "shop"}))
}

func (m *machine) snapshotOf(project string) proto.Message { return m.store.Read().Project(project) }

func set(scope *configpb.Scope, name, sealed string) *configpb.Change {
	return &configpb.Change{Scope: scope, Name: name, Sealed: []byte(sealed)}
}

func TestConfigSet(t *testing.T) {
	m := newShop(t)
	project := &configpb.Scope{Project: "shop"}
	one := func(c *configpb.Change) *commandpb.Result {
		return m.do(&commandpb.ConfigSet{Changes: []*configpb.Change{c}})
	}
	r := one(set(project, "K", "1"))
	m.ok(r, "K")
	if r.GetVersion() != 1 {
		t.Errorf("result is %v", r)
	}
	m.unchanged(one(set(project, "K", "1")))
	m.pass(time.Second)
	if r = one(set(project, "K", "2")); r.GetVersion() != 2 {
		t.Errorf("result is %v", r)
	}
	v := m.store.Read().Variable(project, "K", configpb.Origin_ORIGIN_SET)
	if v.GetVersion() != 2 || string(v.GetSealed()) != "2" || !v.GetUpdatedAt().AsTime().Equal(m.now) {
		t.Errorf("the variable is %v", v)
	}
	m.ok(one(set(nil, "GLOBAL", "1")), "GLOBAL")
	m.ok(one(&configpb.Change{Scope: project, Name: "K", Delete: true}), "K")
	m.unchanged(one(&configpb.Change{Scope: project, Name: "K", Delete: true}))
}

func TestConfigChangesThatAreRefused(t *testing.T) {
	m := newShop(t)
	project := &configpb.Scope{Project: "shop"}
	for name, c := range map[string]struct {
		change *configpb.Change
		want   errs.Kind
	}{
		"no name":              {set(project, "", "x"), errs.Invalid},
		"no value":             {set(project, "K", ""), errs.Invalid},
		"an open value":        {&configpb.Change{Scope: project, Name: "K", Value: "secret", Sealed: []byte("x")}, errs.Invalid},
		"an app alone":         {set(&configpb.Scope{App: "web"}, "K", "x"), errs.Invalid},
		"an unknown project":   {set(&configpb.Scope{Project: "none"}, "K", "x"), errs.NotFound},
		"an unknown app":       {set(&configpb.Scope{Project: "shop", App: "none"}, "K", "x"), errs.NotFound},
		"a file for a project": {&configpb.Change{Scope: project, Name: "K", Sealed: []byte("x"), Origin: configpb.Origin_ORIGIN_FILE}, errs.Invalid},
		"a wrong version":      {&configpb.Change{Scope: project, Name: "K", Sealed: []byte("x"), IfVersion: proto.Uint64(1)}, errs.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			m.refused(c.want, m.do(&commandpb.ConfigSet{Changes: []*configpb.Change{set(project, "FIRST", "x"), c.change}}))
			if vars := m.store.Read().ProjectVariables("shop"); len(vars) != 0 {
				t.Errorf("a part was done: %v", vars)
			}
		})
	}
	m.refused(errs.Invalid, m.do(&commandpb.ConfigSet{Changes: []*configpb.Change{set(project, "K", "x"), set(project, "K", "y")}}))
}

func TestConfigCompareAndSet(t *testing.T) {
	m := newShop(t)
	at := func(version uint64, delete bool) *commandpb.Result {
		c := set(nil, "K", m.now.String())
		c.IfVersion, c.Delete = proto.Uint64(version), delete
		m.pass(time.Second)
		return m.do(&commandpb.ConfigSet{Changes: []*configpb.Change{c}})
	}
	m.ok(at(0, false))
	m.refused(errs.Conflict, at(0, false))
	m.ok(at(1, false))
	m.refused(errs.Conflict, at(1, true))
	m.ok(at(2, true))
	m.refused(errs.Conflict, at(2, true))
	m.unchanged(at(0, true))
	m.ok(at(0, false))
}

func TestTheProjectFileIsTheWholeTruthOfItsOrigin(t *testing.T) {
	m := newShop(t)
	web := &configpb.Scope{Project: "shop", App: "web"}
	file := func(scope *configpb.Scope, name, sealed string) *configpb.Change {
		c := set(scope, name, sealed)
		c.Origin = configpb.Origin_ORIGIN_FILE
		return c
	}
	api := &configpb.Scope{Project: "shop", App: "api"}
	prod := &configpb.Scope{Project: "shop", App: "web", Workspace: "prod"}
	m.ok(m.do(&commandpb.ConfigSet{Changes: []*configpb.Change{
		file(web, "OLD", "1"), file(web, "KEPT", "1"), set(web, "OLD", "by hand"), file(api, "OLD", "1"), file(prod, "OLD", "1"),
	}}))
	m.ok(m.do(&commandpb.ConfigSet{
		Changes:          []*configpb.Change{file(web, "KEPT", "1"), file(web, "NEW", "1")},
		ReplaceFileScope: web,
	}), "NEW", "OLD")
	tx := m.store.Read()
	for _, c := range []struct {
		scope  *configpb.Scope
		name   string
		origin configpb.Origin
		there  bool
	}{
		{web, "OLD", configpb.Origin_ORIGIN_FILE, false},
		{web, "OLD", configpb.Origin_ORIGIN_SET, true},
		{web, "KEPT", configpb.Origin_ORIGIN_FILE, true},
		{web, "NEW", configpb.Origin_ORIGIN_FILE, true},
		{api, "OLD", configpb.Origin_ORIGIN_FILE, true},
		{prod, "OLD", configpb.Origin_ORIGIN_FILE, true},
	} {
		if got := tx.Variable(c.scope, c.name, c.origin) != nil; got != c.there {
			t.Errorf("%s of %v from %v is there: %v", c.name, c.scope, c.origin, got)
		}
	}
	m.refused(errs.Invalid, m.do(&commandpb.ConfigSet{ReplaceFileScope: &configpb.Scope{Project: "shop"}}))
	m.refused(errs.NotFound, m.do(&commandpb.ConfigSet{ReplaceFileScope: &configpb.Scope{Project: "shop", App: "none"}}))
}
