package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/rollout"
	"waypoint/rpc/rpctest"
	"waypoint/session/sessiontest"
)

const (
	patience = 20 * time.Second
	isExited = deploymentpb.InstanceState_INSTANCE_STATE_EXITED
)

// bench is a state with a leader.
type bench struct {
	*rpctest.Fixture
	*testing.T
	deployment string
	log        *wait.Buffer

	mu      sync.Mutex
	refuse  int // how many grants fail first
	grants  int // that were tried
	largest int // turns in one of them
}

func newBench(t *testing.T) *bench {
	b := &bench{Fixture: rpctest.New(t), T: t, log: &wait.Buffer{}}
	b.deployment, _ = sessiontest.Deploy(b.Fixture)
	b.OnApply(func(cmd *commandpb.Command) error {
		if cmd.GetRestartGrant() == nil {
			return nil
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.grants++
		b.largest = max(b.largest, len(cmd.GetRestartGrant().GetTurns()))
		if b.refuse--; b.refuse >= 0 {
			return errs.New(errs.Unavailable, "no quorum")
		}
		return nil
	})
	return b
}

// lead runs the task until the returned function or the test's end.
func (b *bench) lead() (stop func()) {
	task := rollout.New(rollout.Config{
		Store: b.Store, Logger: hclog.New(&hclog.LoggerOptions{Output: b.log}),
		Timing: rollout.Timing{Settle: 50 * time.Millisecond, FirstHold: 100 * time.Millisecond, Patience: patience},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := task.Run(ctx, b.Leader()); !errors.Is(err, context.Canceled) {
			b.Errorf("run: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	b.Cleanup(stop)
	return stop
}

// attach adds an instance whose child runs with "old".
func (b *bench) attach(wanted string) string {
	id := ids.New()
	b.Do(&commandpb.Command_InstanceAttach{InstanceAttach: &commandpb.InstanceAttach{Instance: &deploymentpb.Instance{
		Id: id, DeploymentId: b.deployment, NodeId: b.NodeID, NodeBoot: b.BootID, Generation: 1,
		ChildPid: 7, ChildStarts: 1, ChildConfig: []byte("old"), RestartWanted: []byte(wanted),
	}}})
	return id
}

func (b *bench) update(id string, change func(*commandpb.InstanceUpdate)) {
	row := b.Store.Read().Instance(id)
	u := &commandpb.InstanceUpdate{Id: id, NodeId: row.GetNodeId(), NodeBoot: row.GetNodeBoot(), Generation: row.GetGeneration(),
		ChildPid: row.GetChildPid(), ChildStarts: row.GetChildStarts(), ChildConfig: row.GetChildConfig(), RestartWanted: row.GetRestartWanted()}
	change(u)
	b.Do(&commandpb.Command_InstanceUpdate{InstanceUpdate: u})
}

// restart does what an instance does when its turn has come.
func (b *bench) restart(id string) {
	b.update(id, func(u *commandpb.InstanceUpdate) { u.ChildPid = 0 })
	b.update(id, func(u *commandpb.InstanceUpdate) {
		u.ChildPid, u.ChildConfig, u.RestartWanted = 9, u.RestartWanted, nil
		u.ChildStarts++
	})
}

func (b *bench) end(id string) {
	b.update(id, func(u *commandpb.InstanceUpdate) { u.State = isExited })
}

// due returns the instances whose turn it is.
func (b *bench) due() []*deploymentpb.Instance { return b.Store.Read().InstancesToRestart(b.NodeID) }

func (b *bench) waitDue(n int) []*deploymentpb.Instance {
	b.Helper()
	wait.For(b.T, patience, fmt.Sprintf("%d turns", n), func() bool { return len(b.due()) == n })
	return b.due()
}

func (b *bench) tried() (grants, largest int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.grants, b.largest
}

func TestInstancesRestartByTurns(t *testing.T) {
	b := newBench(t)
	b.lead()
	for range 8 {
		b.attach("new")
	}
	for range 4 {
		for _, i := range b.waitDue(2) {
			b.restart(i.GetId())
		}
	}
	for _, i := range b.Store.Read().InstancesOfDeployment(b.deployment) {
		if i.GetChildStarts() != 2 || string(i.GetChildConfig()) != "new" {
			t.Errorf("instance %v", i)
		}
	}
	if got := strings.Count(b.log.String(), "restart by turns"); got != 1 {
		t.Errorf("it is said %d times", got)
	}
}

func TestASingleInstanceRestartsAtOnce(t *testing.T) {
	b := newBench(t)
	b.lead()
	b.end(b.attach(""))  // others have ended
	only := b.attach("") // and this one has just begun
	b.update(only, func(u *commandpb.InstanceUpdate) { u.RestartWanted = []byte("new") })
	b.waitDue(1)
	b.restart(only)
	b.update(only, func(u *commandpb.InstanceUpdate) { u.RestartWanted = []byte("newer") })
	b.waitDue(1)
}

func TestThePolicySaysHowManyMayRestart(t *testing.T) {
	b := newBench(t)
	b.Do(&commandpb.Command_ConfigPolicySet{ConfigPolicySet: &commandpb.ConfigPolicySet{
		Project: "shop", App: "web", Policy: policyOf("3"),
	}})
	for range 5 {
		b.attach("new")
	}
	b.lead()
	b.waitDue(3)
}

func TestTheNextLeaderGoesOn(t *testing.T) {
	b := newBench(t)
	stop := b.lead()
	for range 4 {
		b.attach("new")
	}
	first := b.waitDue(1)[0].GetId()
	stop()
	b.update(first, func(u *commandpb.InstanceUpdate) { u.ChildPid = 0 })
	b.lead()
	grants, _ := b.tried()
	b.attach("new") // wakes it
	if got := b.waitDue(1)[0].GetId(); got != first {
		t.Errorf("%s has a turn while %s uses its own", got, first)
	}
	b.restart(first)
	b.waitDue(1)
	if got, _ := b.tried(); got != grants+1 {
		t.Errorf("%d grants, want one more than %d", got, grants)
	}
}

func TestItHaltsWhenThoseThatRestartedDoNotComeBack(t *testing.T) {
	b := newBench(t)
	b.lead()
	for range 8 {
		b.attach("bad")
	}
	for _, i := range b.waitDue(2) {
		b.restart(i.GetId())
		b.end(i.GetId())
	}
	wait.For(t, patience, "the halt to be told", func() bool { return strings.Count(b.log.String(), "did not come back") == 1 })
	left := 0
	for _, i := range b.Store.Read().Instances(nil, b.deployment, false) {
		left++
		b.update(i.GetId(), func(u *commandpb.InstanceUpdate) { u.RestartWanted = []byte("good") })
	}
	if left != 6 {
		t.Fatalf("%d instances are left", left)
	}
	for range 6 {
		b.restart(b.waitDue(1)[0].GetId())
	}
	if got := strings.Count(b.log.String(), "did not come back"); got != 1 {
		t.Errorf("the halt is told %d times", got)
	}
}

func TestAGrantThatFailsIsTriedAgain(t *testing.T) {
	b := newBench(t)
	b.refuse = 1
	b.lead()
	b.attach("new")
	b.waitDue(1)
	if got := strings.Count(b.log.String(), "cannot give instances their turn"); got != 1 {
		t.Errorf("the failure is told %d times", got)
	}
}

func TestInstancesOfDestroyedDeploymentsGetNoTurn(t *testing.T) {
	b := newBench(t)
	b.attach("new")
	b.Do(&commandpb.Command_DeploymentDestroy{DeploymentDestroy: &commandpb.DeploymentDestroy{Id: b.deployment}})
	gone := b.deployment
	b.deployment, _ = sessiontest.Deploy(b.Fixture)
	b.attach("new")
	b.lead()
	b.waitDue(1)
	if got := b.due()[0].GetDeploymentId(); got == gone {
		t.Error("an instance of a destroyed deployment has a turn")
	}
}

func TestManyTurnsAreGivenInCommandsOfBoundedSize(t *testing.T) {
	b := newBench(t)
	b.Do(&commandpb.Command_ConfigPolicySet{ConfigPolicySet: &commandpb.ConfigPolicySet{
		Project: "shop", App: "web", Policy: policyOf("100%"),
	}})
	for range 1500 {
		b.attach("new")
	}
	b.lead()
	b.waitDue(1500)
	if grants, largest := b.tried(); grants < 2 || largest > 1000 {
		t.Errorf("%d grants, the largest with %d turns", grants, largest)
	}
}

func policyOf(max string) *configpb.Policy { return &configpb.Policy{MaxUnavailable: max} }
