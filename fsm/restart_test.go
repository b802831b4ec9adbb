package fsm_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
)

// wanting attaches an instance whose child has been started once and which
// wants to restart for the configuration.
func (m *machine) wanting(id, deployment string, generation uint64, config string) *commandpb.Result {
	m.Helper()
	return m.as(node1, &commandpb.InstanceAttach{Instance: &deploymentpb.Instance{
		Id: id, DeploymentId: deployment, NodeId: "n1", NodeBoot: "boot1", Generation: generation,
		ChildPid: 7, ChildStarts: 1, ChildConfig: []byte("old"), RestartWanted: []byte(config),
	}})
}

func grantOf(deployment, config string, starts uint32, instances ...string) *commandpb.RestartGrant {
	grant := &commandpb.RestartGrant{DeploymentId: deployment}
	for _, id := range instances {
		grant.Turns = append(grant.Turns, &commandpb.RestartGrant_Turn{InstanceId: id, Starts: starts, Config: []byte(config)})
	}
	return grant
}

func (m *machine) childUpdate(id string, generation uint64, pid, starts uint32, config, wanted string) *commandpb.Result {
	m.Helper()
	return m.as(node1, &commandpb.InstanceUpdate{Id: id, NodeId: "n1", NodeBoot: "boot1", Generation: generation,
		ChildPid: pid, ChildStarts: starts, ChildConfig: []byte(config), RestartWanted: []byte(wanted)})
}

func TestInstancesGetTheirTurnToRestart(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.ok(m.wanting("i1", "d1", 1, "new"))
	m.ok(m.wanting("i2", "d1", 1, "new"))
	m.pass(time.Second)
	m.refused(errs.PermissionDenied, m.do(grantOf("d1", "new", 1, "i1")))
	m.ok(m.lead(grantOf("d1", "new", 1, "i1", "i2", "none")), "i1", "i2")
	row := m.store.Read().Instance("i1")
	if turn := row.GetTurn(); turn.GetStarts() != 1 || string(turn.GetConfig()) != "new" || !turn.GetAt().AsTime().Equal(m.now) {
		t.Errorf("the turn is %v", turn)
	}
	m.pass(time.Second)
	m.unchanged(m.lead(grantOf("d1", "new", 1, "i1")))
	if got := m.store.Read().Instance("i1").GetTurn().GetAt().AsTime(); !got.Equal(row.GetTurn().GetAt().AsTime()) {
		t.Errorf("the turn was given again at %v", got)
	}
	m.ok(m.childUpdate("i1", 1, 7, 1, "old", "newer"))
	m.ok(m.lead(grantOf("d1", "newer", 1, "i1")), "i1")
	m.refused(errs.NotFound, m.lead(grantOf("none", "new", 1, "i1")))
	m.refused(errs.Invalid, m.lead(grantOf("d1", "new", 1, make([]string, 1001)...)))
}

func TestTurnsPassOverWhoDoesNotWantThemAnyMore(t *testing.T) {
	for name, c := range map[string]struct {
		since  func(*machine)
		grant  *commandpb.RestartGrant
		passed bool
	}{
		"still wanted":           {func(*machine) {}, grantOf("d1", "new", 1, "i1"), false},
		"attached again":         {func(m *machine) { m.ok(m.wanting("i1", "d1", 2, "new")) }, grantOf("d1", "new", 1, "i1"), false},
		"another configuration":  {func(*machine) {}, grantOf("d1", "newer", 1, "i1"), true},
		"nothing":                {func(*machine) {}, grantOf("d1", "", 1, "i1"), true},
		"not wanted any more":    {func(m *machine) { m.ok(m.childUpdate("i1", 1, 7, 1, "old", "")) }, grantOf("d1", "", 1, "i1"), true},
		"restarted since":        {func(m *machine) { m.ok(m.childUpdate("i1", 1, 8, 2, "new", "new")) }, grantOf("d1", "new", 1, "i1"), true},
		"detached":               {func(m *machine) { m.ok(m.update("i1", 1, detachedState)) }, grantOf("d1", "new", 1, "i1"), true},
		"ended":                  {func(m *machine) { m.ok(m.update("i1", 1, exitedState)) }, grantOf("d1", "new", 1, "i1"), true},
		"of another deployment":  {func(m *machine) { m.deployed("d2") }, grantOf("d2", "new", 1, "i1"), true},
		"more starts than there": {func(*machine) {}, grantOf("d1", "new", 2, "i1"), true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newShop(t)
			m.deployed("d1")
			m.ok(m.wanting("i1", "d1", 1, "new"))
			c.since(m)
			result := m.lead(c.grant)
			if c.passed {
				m.unchanged(result)
				return
			}
			m.ok(result, "i1")
		})
	}
}

func TestADestroyedDeploymentGivesNoTurns(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.ok(m.wanting("i1", "d1", 1, "new"))
	m.ok(m.do(&commandpb.DeploymentDestroy{Id: "d1"}))
	m.refused(errs.NotFound, m.lead(grantOf("d1", "new", 1, "i1")))
}

func TestAnotherAttachKeepsTheTurnAndTheChildsAge(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.ok(m.wanting("i1", "d1", 1, "new"))
	started := m.now
	m.pass(time.Second)
	m.ok(m.lead(grantOf("d1", "new", 1, "i1")))
	granted := m.now
	m.pass(time.Second)
	m.ok(m.lead(&commandpb.NodeLost{NodeId: "n1", BootId: "boot1"}))
	m.pass(time.Second)
	m.ok(m.as(node1, &commandpb.InstanceAttach{Instance: &deploymentpb.Instance{
		Id: "i1", DeploymentId: "d1", NodeId: "n1", NodeBoot: "boot1", Generation: 2,
		ChildPid: 7, ChildStarts: 1, RestartWanted: []byte("new"),
		// Nobody but the leader gives turns.
		Turn: &deploymentpb.RestartTurn{Starts: 9}, ChildSince: m.stamp(),
	}}))
	row := m.store.Read().Instance("i1")
	if !row.GetChildSince().AsTime().Equal(started) || !row.GetTurn().GetAt().AsTime().Equal(granted) || row.GetTurn().GetStarts() != 1 {
		t.Errorf("the instance is %v", row)
	}

	m.ok(m.as(node1, &commandpb.InstanceAttach{Instance: &deploymentpb.Instance{
		Id: "i1", DeploymentId: "d1", NodeId: "n1", NodeBoot: "boot1", Generation: 3, ChildPid: 8, ChildStarts: 2,
	}}))
	if row = m.store.Read().Instance("i1"); !row.GetChildSince().AsTime().Equal(m.now) || row.GetTurn() == nil {
		t.Errorf("the instance is %v", row)
	}
	m.ok(m.as(node1, &commandpb.InstanceAttach{Instance: &deploymentpb.Instance{
		Id: "i2", DeploymentId: "d1", NodeId: "n1", NodeBoot: "boot1", Generation: 1, ChildPid: 8,
		Turn: &deploymentpb.RestartTurn{Starts: 9}, ChildSince: m.stampAt(started),
	}}))
	if row = m.store.Read().Instance("i2"); row.GetTurn() != nil || !row.GetChildSince().AsTime().Equal(m.now) {
		t.Errorf("the instance is %v", row)
	}
}

func TestUpdatesBringWhatTheChildRunsWith(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.ok(m.wanting("i1", "d1", 1, "new"))
	started := m.now
	m.pass(time.Second)
	m.unchanged(m.childUpdate("i1", 1, 7, 1, "old", "new"))
	m.ok(m.childUpdate("i1", 1, 7, 1, "old", "newer"))
	if row := m.store.Read().Instance("i1"); string(row.GetRestartWanted()) != "newer" || !row.GetChildSince().AsTime().Equal(started) {
		t.Errorf("the instance is %v", row)
	}
	m.ok(m.childUpdate("i1", 1, 8, 2, "newer", ""))
	if row := m.store.Read().Instance("i1"); string(row.GetChildConfig()) != "newer" || len(row.GetRestartWanted()) > 0 || !row.GetChildSince().AsTime().Equal(m.now) {
		t.Errorf("the instance is %v", row)
	}
	m.ok(m.as(node1, &commandpb.InstanceUpdate{Id: "i1", NodeId: "n1", NodeBoot: "boot1", Generation: 1, State: exitedState,
		ChildStarts: 2, ChildConfig: []byte("newer"), RestartWanted: []byte("newest"), AskedToEnd: true}))
	if row := m.store.Read().Instance("i1"); string(row.GetChildConfig()) != "newer" || len(row.GetRestartWanted()) > 0 || !row.GetAskedToEnd() {
		t.Errorf("the instance is %v", row)
	}
}

// What became of an instance that had its turn is known as long as others wait
// for the same configuration.
func TestPruneKeepsWhoseTurnOthersWaitToFollow(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	for i := range 3 {
		m.ok(m.wanting(fmt.Sprint("i", i), "d1", 1, "new"))
	}
	m.ok(m.lead(grantOf("d1", "new", 1, "i0")))
	for i := range 2 {
		m.ok(m.update(fmt.Sprint("i", i), 1, exitedState))
	}
	m.pass(time.Hour)
	m.prunes("i0", "i2")
	m.ok(m.childUpdate("i2", 1, 7, 1, "old", "newer"))
	m.prunes("i2")
}

// prunes removes old instances and wants these to be left.
func (m *machine) prunes(left ...string) {
	m.Helper()
	m.ok(m.lead(&commandpb.Prune{Max: 9, InstanceAge: durationpb.New(time.Minute)}))
	var got []string
	for _, row := range m.store.Read().InstancesOfDeployment("d1") {
		got = append(got, row.GetId())
	}
	if fmt.Sprint(got) != fmt.Sprint(left) {
		m.Errorf("left are %q, want %q", got, left)
	}
}
