package fsm_test

import (
	"testing"
	"time"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
)

const (
	attachedState = deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED
	detachedState = deploymentpb.InstanceState_INSTANCE_STATE_DETACHED
	lostState     = deploymentpb.InstanceState_INSTANCE_STATE_LOST
	exitedState   = deploymentpb.InstanceState_INSTANCE_STATE_EXITED
)

// update changes the attach of that generation to node n1.
func (m *machine) update(id string, generation uint64, to deploymentpb.InstanceState) *commandpb.Result {
	m.Helper()
	return m.as(node1, &commandpb.InstanceUpdate{
		Id: id, NodeId: "n1", NodeBoot: "boot1", Generation: generation, State: to,
		ChildPid: 42, ChildStarts: 1, ExitCode: 3,
	})
}

func TestAnInstanceAttachesToADeployment(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	started := m.now
	m.ok(m.attached("i1", "d1", 1), "i1")
	m.pass(time.Second)
	m.ok(m.attached("i1", "d1", 2))
	row := m.store.Read().Instance("i1")
	if row.GetState() != attachedState || row.GetDeploymentSequence() != 1 || row.GetApp().GetApp() != "web" || row.GetGeneration() != 2 {
		t.Errorf("the instance is %v", row)
	}
	if !row.GetStartedAt().AsTime().Equal(started) || !row.GetAttachedAt().AsTime().Equal(m.now) {
		t.Errorf("its times are %v", row)
	}
	m.refused(errs.NotFound, m.attached("i2", "none", 1))
	m.refused(errs.Invalid, m.attached("i2", "d1", 0))
	m.deployed("d2")
	m.refused(errs.Invalid, m.attached("i1", "d2", 3))
}

func TestAttachesComeInOrder(t *testing.T) {
	for name, c := range map[string]struct {
		before     func(*machine)
		generation uint64
		stale      bool
	}{
		"a newer one":                   {func(*machine) {}, 3, false},
		"the same again":                {func(*machine) {}, 2, false},
		"an older one":                  {func(*machine) {}, 1, true},
		"the same after it ended":       {func(m *machine) { m.ok(m.update("i1", 2, detachedState)) }, 2, true},
		"a newer one after it ended":    {func(m *machine) { m.ok(m.update("i1", 2, detachedState)) }, 3, false},
		"the same after it was lost":    {func(m *machine) { m.ok(m.lead(&commandpb.NodeLost{NodeId: "n1", BootId: "boot1"})) }, 2, false},
		"a newer one after the exit":    {func(m *machine) { m.ok(m.update("i1", 2, exitedState)) }, 3, true},
		"the same one after the exit":   {func(m *machine) { m.ok(m.update("i1", 2, exitedState)) }, 2, true},
		"an older one after the exit":   {func(m *machine) { m.ok(m.update("i1", 2, exitedState)) }, 1, true},
		"a newer one after it was lost": {func(m *machine) { m.ok(m.lead(&commandpb.NodeLost{NodeId: "n1", BootId: "boot1"})) }, 3, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newShop(t)
			m.deployed("d1")
			m.ok(m.attached("i1", "d1", 2))
			c.before(m)
			result := m.attached("i1", "d1", c.generation)
			if c.stale {
				m.refused(errs.StaleAttempt, result)
				return
			}
			m.ok(result)
			if got := m.store.Read().Instance("i1").GetState(); got != attachedState {
				t.Errorf("the instance is %v", got)
			}
		})
	}
}

func TestUpdatesOfAnotherAttachAreStale(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.ok(m.attached("i1", "d1", 2))
	m.refused(errs.NotFound, m.update("none", 2, detachedState))
	m.refused(errs.StaleAttempt, m.update("i1", 1, detachedState))
	m.refused(errs.StaleAttempt, m.update("i1", 3, detachedState))
	for _, c := range []*commandpb.InstanceUpdate{
		{Id: "i1", NodeId: "n2", NodeBoot: "boot1", Generation: 2, State: exitedState},
		{Id: "i1", NodeId: "n1", NodeBoot: "boot0", Generation: 2, State: exitedState},
	} {
		m.refused(errs.StaleAttempt, m.as(node1, c))
	}
	if got := m.store.Read().Instance("i1").GetState(); got != attachedState {
		t.Errorf("the instance is %v", got)
	}
}

func TestAnInstanceGoesThroughItsStates(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.ok(m.attached("i1", "d1", 1))
	attachedAt := m.now
	m.pass(time.Second)
	m.ok(m.update("i1", 1, 0))
	m.unchanged(m.update("i1", 1, attachedState))
	row := m.store.Read().Instance("i1")
	if row.GetChildPid() != 42 || row.GetChildStarts() != 1 || row.GetExitCode() != 0 || !row.GetChangedAt().AsTime().Equal(attachedAt) {
		t.Errorf("the instance is %v", row)
	}
	m.ok(m.update("i1", 1, detachedState))
	m.unchanged(m.update("i1", 1, detachedState))
	m.refused(errs.StaleAttempt, m.update("i1", 1, attachedState))
	m.ok(m.update("i1", 1, exitedState))
	row = m.store.Read().Instance("i1")
	if row.GetExitCode() != 3 || row.GetChildPid() != 0 || !row.GetChangedAt().AsTime().Equal(m.now) {
		t.Errorf("the instance is %v", row)
	}
	m.unchanged(m.update("i1", 1, exitedState))
	m.refused(errs.StaleAttempt, m.update("i1", 1, lostState))
}

func TestAnEntrypointsTokenReachesItsDeploymentOnly(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.deployed("d2")
	attach := func(deployment string) *commandpb.Result {
		return m.as("t-d1", &commandpb.InstanceAttach{Instance: &deploymentpb.Instance{
			Id: "i-" + deployment, DeploymentId: deployment, NodeId: "n1", NodeBoot: "boot1", Generation: 1,
		}})
	}
	m.ok(attach("d1"))
	m.refused(errs.PermissionDenied, attach("d2"))
	m.ok(m.attached("i-d2", "d2", 1))
	m.refused(errs.PermissionDenied, m.as("t-d1", &commandpb.InstanceUpdate{Id: "i-d2", NodeId: "n1", NodeBoot: "boot1", Generation: 1, State: exitedState}))
	m.ok(m.do(&commandpb.DeploymentDestroy{Id: "d1"}))
	m.refused(errs.Unauthenticated, attach("d1"))
}

func TestRunnersAttachAndDetachInOrder(t *testing.T) {
	m := newMachine(t)
	attach := func(generation uint64) *commandpb.Result {
		return m.as(node1, &commandpb.RunnerAttach{Runner: &runnerpb.Runner{Id: "r", NodeId: "n1", NodeBoot: "boot1", Generation: generation}})
	}
	detach := func(generation uint64, gone bool) *commandpb.Result {
		return m.as(node1, &commandpb.RunnerDetach{Id: "r", NodeId: "n1", NodeBoot: "boot1", Generation: generation, Gone: gone})
	}
	m.refused(errs.Invalid, attach(0))
	m.unchanged(detach(1, false))
	m.ok(attach(2), "r")
	m.ok(attach(2), "r")
	m.refused(errs.StaleAttempt, attach(1))
	m.refused(errs.StaleAttempt, detach(1, true))
	m.ok(detach(2, false))
	m.unchanged(detach(2, false))
	m.refused(errs.StaleAttempt, attach(2))
	m.ok(attach(3))
	m.ok(m.lead(&commandpb.NodeLost{NodeId: "n1", BootId: "boot1"}), "r")
	m.ok(attach(3))
	if got := m.store.Read().Runner("r").GetState(); got != runnerpb.State_STATE_ATTACHED {
		t.Errorf("the runner is %v", got)
	}
	m.ok(detach(3, true), "r")
	if m.store.Read().Runner("r") != nil {
		t.Error("the runner is still there")
	}
}
