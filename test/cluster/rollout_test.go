package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"waypoint/agent"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/entrypointpb"
	"waypoint/internal/backoff"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/rollout"
)

// restartTiming is that of the nodes of these tests.
var restartTiming = rollout.Timing{Settle: 300 * time.Millisecond, FirstHold: time.Second, Patience: time.Minute}

// fleet is the instances of one deployment, each with a fake entrypoint and a
// fake app, and what has become of them.
type fleet struct {
	g          *group
	deployment string
	conns      []entrypointpb.EntrypointClient // of each member

	mu       sync.Mutex
	apps     []*fakeApp
	restarts []span // each from its turn until its child counts as available
}

// span is a time in which an app was not available. Its end is zero while it
// lasts.
type span struct {
	app      *fakeApp
	from, to time.Time
}

// fakeApp is an entrypoint that does as the real one, without a process. Its
// fields are guarded by the fleet's mutex.
type fakeApp struct {
	f          *fleet
	id         string
	generation uint64
	pid        uint32
	starts     uint32
	has        []byte // the configuration that the child was started with
	newest     []byte
	bad        bool // newest ends those that take it up
	restart    int  // its entry in restarts while it restarts; -1: none
}

// newFleet deploys size instances which are connected to all members in turn. If
// bare, their children run without a configuration from the beginning.
func newFleet(g *group, size int, bare bool) *fleet {
	g.t.Helper()
	token := g.entrypointToken("shop")
	made, err := deploymentpb.NewDeploymentServiceClient(g.dial(0, g.token).Conn()).ListDeployments(g.context(time.Minute),
		&deploymentpb.ListDeploymentsRequest{App: &deploymentpb.AppRef{Project: "shop", App: "web", Workspace: "default"}})
	if err != nil || len(made.GetDeployments()) != 1 {
		g.t.Fatalf("deployments %v: %v", made, err)
	}
	f := &fleet{g: g, deployment: made.GetDeployments()[0].GetId()}
	for i := range g.members {
		f.conns = append(f.conns, entrypointpb.NewEntrypointClient(g.dial(i, token).Conn()))
	}
	f.set(0, "red")
	running, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	g.t.Cleanup(func() { stop(); all.Wait() })
	for i := range size {
		app := &fakeApp{f: f, id: ids.New(), restart: -1}
		if bare {
			app.pid, app.starts = 1000, 1
		}
		f.apps = append(f.apps, app)
		all.Go(func() { app.run(running, i) })
	}
	return f
}

// run stays attached to one member after the other until its app has ended.
func (a *fakeApp) run(ctx context.Context, first int) {
	pause := backoff.New(50*time.Millisecond, time.Second)
	for at := first; ctx.Err() == nil; at++ {
		if a.attach(ctx, a.f.conns[at%len(a.f.conns)]) {
			return
		}
		_ = pause.Wait(ctx)
	}
}

// attach is one attach. It returns true after the app has ended.
func (a *fakeApp) attach(ctx context.Context, client entrypointpb.EntrypointClient) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Attach(ctx)
	if err != nil {
		return false
	}
	downs, ups := make(chan *entrypointpb.Down), make(chan *entrypointpb.Up, 100)
	var receiver sync.WaitGroup
	defer receiver.Wait()
	defer cancel()
	receiver.Go(func() {
		defer close(downs)
		for {
			down, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case downs <- down:
			case <-ctx.Done():
				return
			}
		}
	})
	ups <- a.hello()
	again := time.NewTimer(time.Hour) // the moment of the next start
	defer again.Stop()
	if a.mayStart() {
		again.Reset(0) // it restarted while it was not attached
	}
	for {
		select {
		case up := <-ups:
			if stream.Send(up) != nil {
				return false
			}
			if up.GetGoodbye() != nil {
				for range downs { // until the server has taken it
				}
				return true
			}
		case down, open := <-downs:
			if !open || down.GetMove() != nil {
				return false
			}
			if a.take(down, ups) {
				again.Reset(100 * time.Millisecond)
			}
		case <-again.C:
			a.start(ups)
		case <-ctx.Done():
			return false
		}
	}
}

func (a *fakeApp) hello() *entrypointpb.Up {
	a.f.mu.Lock()
	defer a.f.mu.Unlock()
	a.generation++
	return &entrypointpb.Up{Kind: &entrypointpb.Up_Hello{Hello: &entrypointpb.Hello{
		InstanceId: a.id, Generation: a.generation, Child: a.child(),
	}}}
}

// child is the state of the child. The caller holds the fleet's mutex.
func (a *fakeApp) child() *entrypointpb.ChildState {
	c := &entrypointpb.ChildState{Pid: a.pid, Starts: a.starts, ConfigHash: a.has}
	if a.newest != nil && !slices.Equal(a.newest, a.has) {
		c.RestartWanted = a.newest
	}
	return c
}

func (a *fakeApp) mayStart() bool {
	a.f.mu.Lock()
	defer a.f.mu.Unlock()
	return a.restart >= 0
}

// take handles a message and returns true if the child is to be started soon.
func (a *fakeApp) take(down *entrypointpb.Down, ups chan<- *entrypointpb.Up) (start bool) {
	f := a.f
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case down.GetConfig() != nil:
		a.newest = down.GetConfig().GetHash()
		a.bad = slices.ContainsFunc(down.GetConfig().GetVariables(), func(v *entrypointpb.EnvVar) bool { return v.GetValue() == "bad" })
		if a.starts == 0 {
			a.pid, a.starts, a.has = 1000, 1, a.newest
		}
	case down.GetRestart() != nil:
		if down.GetRestart().GetStarts() != a.starts || a.restart >= 0 || a.child().RestartWanted == nil {
			return false
		}
		a.pid, a.restart = 0, len(f.restarts)
		f.restarts = append(f.restarts, span{app: a, from: time.Now()})
		start = true
	default:
		return false
	}
	ups <- &entrypointpb.Up{Kind: &entrypointpb.Up_Child{Child: a.child()}}
	return start
}

// start starts the child, which ends at once with a bad configuration.
func (a *fakeApp) start(ups chan<- *entrypointpb.Up) {
	f := a.f
	f.mu.Lock()
	defer f.mu.Unlock()
	a.starts++
	a.pid, a.has = 1000+a.starts, a.newest
	if a.bad {
		a.pid = 0 // its span lasts
		ups <- &entrypointpb.Up{Kind: &entrypointpb.Up_Child{Child: a.child()}}
		ups <- &entrypointpb.Up{Kind: &entrypointpb.Up_Goodbye{Goodbye: &entrypointpb.Goodbye{ExitCode: 1}}}
		return
	}
	f.restarts[a.restart].to = time.Now().Add(restartTiming.Settle)
	a.restart = -1
	ups <- &entrypointpb.Up{Kind: &entrypointpb.Up_Child{Child: a.child()}}
}

// set gives the app's variable a value.
func (f *fleet) set(member int, value string) {
	f.g.t.Helper()
	_, err := configpb.NewConfigClient(f.g.dial(member, f.g.token).Conn()).Set(f.g.context(time.Minute), &configpb.SetRequest{Changes: []*configpb.Change{
		{Scope: &configpb.Scope{Project: "shop", App: "web"}, Name: "COLOR", Value: value},
	}})
	if err != nil {
		f.g.t.Fatal(err)
	}
}

// rows returns the rows of instances that have not ended.
func (f *fleet) rows(member int) []*deploymentpb.Instance {
	reply, err := deploymentpb.NewDeploymentServiceClient(f.g.dial(member, f.g.token).Conn()).ListInstances(f.g.context(10*time.Second),
		&deploymentpb.ListInstancesRequest{DeploymentId: f.deployment})
	if err != nil {
		return nil
	}
	return reply.GetInstances()
}

// await waits until all instances that are left run with the same configuration
// after so many starts each, and returns it.
func (f *fleet) await(member, size int, starts uint32) []byte {
	f.g.t.Helper()
	var config []byte
	wait.For(f.g.t, time.Minute, fmt.Sprintf("%d instances to run after %d starts", size, starts), func() bool {
		rows := f.rows(member)
		for _, i := range rows {
			config = i.GetChildConfig()
			if i.GetState() != deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED || i.GetChildPid() == 0 || i.GetChildStarts() != starts ||
				len(i.GetRestartWanted()) > 0 || !slices.Equal(config, rows[0].GetChildConfig()) {
				return false
			}
		}
		return len(rows) == size
	})
	return config
}

// mostAtATime is how many apps were not available at the same time at most.
func (f *fleet) mostAtATime() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	most := 0
	for _, one := range f.restarts {
		away := map[*fakeApp]bool{}
		for _, other := range f.restarts {
			if !other.from.After(one.from) && (other.to.IsZero() || other.to.After(one.from)) {
				away[other.app] = true
			}
		}
		most = max(most, len(away))
	}
	return most
}

// count counts the restarts that have begun.
func (f *fleet) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.restarts)
}

// startTimed is startGroup for nodes with the timing of these tests.
func startTimed(t *testing.T, n int) *group {
	t.Helper()
	g := &group{t: t}
	first := g.start(agent.Config{Bootstrap: true, Restarts: restartTiming})
	g.ca, g.token = first.Info().CAFingerprint, first.Info().UserToken
	for range n - 1 {
		g.start(agent.Config{JoinToken: g.joinToken(), Restarts: restartTiming})
	}
	g.waitVoters(n)
	return g
}

// TestConfigChangeRestartsAShareAtATime changes the configuration of eight
// instances, and again, this time with a leader that goes in between.
func TestConfigChangeRestartsAShareAtATime(t *testing.T) {
	t.Parallel()
	g := startTimed(t, 3)
	f := newFleet(g, 8, false)
	first := f.await(0, 8, 1)
	f.set(0, "green")
	second := f.await(0, 8, 2)
	if slices.Equal(first, second) || f.count() != 8 {
		t.Errorf("%d restarts", f.count())
	}

	leader := g.leader()
	other := (leader + 1) % 3
	f.set(other, "blue")
	wait.For(t, time.Minute, "some restarts", func() bool { return f.count() >= 10 })
	g.members[leader].stop()
	f.await(other, 8, 3)
	if most := f.mostAtATime(); most != 2 || f.count() != 16 {
		t.Errorf("%d restarted at a time, %d in all; want 2 and 16", most, f.count())
	}
}

// TestRestartsHaltWhenInstancesDoNotComeBack sends a configuration that ends
// those that take it up, and then a better one.
func TestRestartsHaltWhenInstancesDoNotComeBack(t *testing.T) {
	t.Parallel()
	g := startTimed(t, 1)
	f := newFleet(g, 8, false)
	f.await(0, 8, 1)
	f.set(0, "bad")
	wait.For(t, time.Minute, "two to end", func() bool { return len(f.rows(0)) == 6 })
	// Several times as long as all the others would take.
	begun := time.Now()
	wait.For(t, time.Minute, "time to pass", func() bool { return time.Since(begun) > 5*restartTiming.FirstHold })
	if rows := f.rows(0); len(rows) != 6 || f.count() != 2 {
		t.Fatalf("%d instances are left after %d restarts, want 6 and 2", len(rows), f.count())
	}

	f.set(0, "good")
	f.await(0, 6, 2)
	f.mu.Lock()
	f.restarts = f.restarts[2:] // those of the bad one last for ever
	f.mu.Unlock()
	if most := f.mostAtATime(); most != 1 {
		t.Errorf("%d of 6 restarted at a time, want 1", most)
	}
}

// TestLateConfigRestartsAShareAtATime lets instances start without a
// configuration, as while no server can be reached.
func TestLateConfigRestartsAShareAtATime(t *testing.T) {
	t.Parallel()
	g := startTimed(t, 1)
	f := newFleet(g, 8, true)
	f.await(0, 8, 2)
	if most := f.mostAtATime(); most > 2 || f.count() != 8 {
		t.Errorf("%d restarted at a time, %d in all; want at most 2 and 8", most, f.count())
	}
}
