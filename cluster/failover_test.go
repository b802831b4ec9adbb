package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
)

func TestWritesGoOnWhenTheLeaderDies(t *testing.T) {
	t.Parallel()
	all := three(t)
	all[1].apply("before")
	dead, rest := leader(t, all)
	dead.crash()
	for _, m := range rest {
		m.apply("after-" + m.cfg.Name)
	}
	for _, m := range rest {
		if err := m.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !m.sees("before") || !m.sees("after-"+rest[0].cfg.Name) || !m.sees("after-"+rest[1].cfg.Name) {
			t.Errorf("%s lacks changes", m.cfg.Name)
		}
	}
	// The dead node comes back with its directory alone and catches up.
	back := dead.again().ready()
	if err := back.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !back.sees("after-" + rest[0].cfg.Name) {
		t.Error("the node that came back lacks changes")
	}
}

func TestLeavingLeaderHandsOverFirst(t *testing.T) {
	t.Parallel()
	all := three(t)
	old, rest := leader(t, all)
	called := make(chan string, 1)
	old.node.cfg.BeforeLeave = func(context.Context) { called <- old.LeaderID() }
	if err := old.stop(); err != nil {
		t.Fatal(err)
	}
	if during := <-called; during == old.NodeID() {
		t.Error("sessions were moved before leadership was")
	}
	wait.For(t, patience, "another node to lead", func() bool {
		return rest[0].raft.State() == raft.Leader || rest[1].raft.State() == raft.Leader
	})
	rest[0].apply("after")
}

func TestAllNodesComeBackFromTheirDirectories(t *testing.T) {
	t.Parallel()
	all := three(t)
	all[0].apply("kept")
	for _, m := range all {
		m.stop()
	}
	var back []*member
	for _, m := range all {
		back = append(back, m.atHome())
	}
	for _, m := range back {
		m.ready()
		if err := m.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !m.sees("kept") {
			t.Errorf("%s lost the change", m.cfg.Name)
		}
	}
}

func TestWithoutAQuorumNothingIsDoneAndTheErrorSaysWhy(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	b := a.join("b")
	voters(t, []*member{a, b}, 2)
	b.crash()
	wait.For(t, patience, "a to step down", func() bool { return a.leadership.leading() == nil })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := a.Apply(ctx, a.project("p")); !errs.Is(err, errs.Deadline) {
		t.Errorf("apply: %v", err)
	}
	if err := a.Fresh(ctx); !errs.Is(err, errs.Deadline) {
		t.Errorf("read: %v", err)
	}
	wait.For(t, patience, "gossip to miss b", func() bool {
		return strings.Contains(a.noLeaderText(), "1 of 2 nodes answer, 2 are needed")
	})
}

func (m *member) noLeaderText() string { return m.roster.noLeader().Error() }

func TestOldLeaderServesNoReads(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	plug := func(cfg Config) Config { nw.attach(&cfg); return cfg }
	b := plug(config(t, "b"))
	if _, err := Bootstrap(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	second := run(t, b).ready()
	nw.name(second)
	all := []*member{second}
	for _, name := range []string{"a", "c"} {
		cfg := plug(config(t, name))
		if name == "a" {
			// This one goes on believing that it leads long after it was replaced.
			cfg.Tuning.Heartbeat, cfg.Tuning.Election, cfg.Tuning.Lease = time.Minute, time.Minute, time.Minute
		}
		if err := Join(t.Context(), cfg, second.joinToken(0)); err != nil {
			t.Fatal(err)
		}
		m := run(t, cfg).ready()
		nw.name(m)
		all = append(all, m)
	}
	voters(t, all, 3)
	a, c := all[1], all[2]
	id := raft.ServerID(a.NodeID())
	// The others have little patience with a, whose heartbeats are rare: it may
	// have heard of an election before it is alone.
	wait.For(t, patience, "a to be replaced without knowing it", func() bool {
		nw.heal("a")
		lead, _ := leader(t, all)
		if lead != a {
			_ = lead.raft.LeadershipTransferToServer(id, raft.ServerAddress(id)).Error()
		}
		if a.leadership.leading() == nil || a.Fresh(t.Context()) != nil {
			return false
		}
		nw.isolate("a")
		c.apply(ids.New())
		return a.leadership.leading() != nil
	})
	c.apply("new")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := a.Fresh(ctx); err == nil {
		t.Error("the old leader served a read")
	}
	if _, _, err := a.ReadIndex(ctx); err == nil {
		t.Error("the old leader gave out a read index")
	}
	if a.sees("new") {
		t.Error("the isolated node is not isolated")
	}
	nw.heal("a")
	if err := a.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !a.sees("new") {
		t.Error("the healed node reads the past")
	}
}

func TestRetryAcrossALeaderChangeIsDoneOnce(t *testing.T) {
	t.Parallel()
	all := three(t)
	old, rest := leader(t, all)
	cmd := old.project("once")
	firstly, err := old.Apply(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	old.crash()
	again, err := rest[0].Apply(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	if again.GetUnchanged() != firstly.GetUnchanged() || !slices.Equal(firstly.GetIds(), again.GetIds()) {
		t.Errorf("first %v, then %v", firstly, again)
	}
}

func TestManyWritersOnAllNodesLoseNothing(t *testing.T) {
	t.Parallel()
	all := three(t)
	const each = 50
	var writers sync.WaitGroup
	for _, m := range all {
		for i := range each {
			writers.Go(func() {
				if _, err := m.Apply(t.Context(), m.project(fmt.Sprintf("%s-%d", m.cfg.Name, i))); err != nil {
					t.Errorf("%s: %v", m.cfg.Name, err)
				}
			})
		}
	}
	writers.Wait()
	for _, m := range all {
		if err := m.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(m.store.Read().Projects()); n != len(all)*each {
			t.Errorf("%s has %d projects, want %d", m.cfg.Name, n, len(all)*each)
		}
	}
}

func TestTooLargeCommandIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	cmd := a.project("p")
	cmd.GetProjectApply().Apps = []string{strings.Repeat("x", MaxCommand)}
	if _, err := a.Apply(t.Context(), cmd); !errs.Is(err, errs.Exhausted) {
		t.Errorf("got %v", err)
	}
}

func TestRefusalComesBackWithItsKindAndIndex(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	b := a.join("b")
	cmd := b.project("p")
	cmd.TokenId = ids.New()
	res, err := b.Apply(t.Context(), cmd)
	if !errs.Is(err, errs.Unauthenticated) || res.GetIndex() == 0 {
		t.Errorf("got %v, %v", res, err)
	}
}

func TestCommandsToAFollowerAreNotPassedOn(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	b := a.join("b")
	if _, err := b.ApplyBatch(t.Context(), nil); !errs.Is(err, errs.Unavailable) {
		t.Errorf("apply: %v", err)
	}
	if _, _, err := b.ReadIndex(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Errorf("read index: %v", err)
	}
}

func TestNewNodeStartsFromASnapshot(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	cfg.Tuning.TrailingLogs = 1
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	a := run(t, cfg).ready()
	for i := range 20 {
		a.apply(fmt.Sprint("p", i))
	}
	// What is left in the log is no command.
	if err := errors.Join(a.raft.Barrier(time.Second).Error(), a.raft.Barrier(time.Second).Error(), a.raft.Snapshot().Error()); err != nil {
		t.Fatal(err)
	}
	if err := a.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := a.join("b")
	if err := b.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !b.sees("p0") || !b.sees("p19") {
		t.Error("the new node lacks what is in the snapshot")
	}
}

func TestDiskFailureEndsTheNode(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	cfg.Fatal = func(err error) { told <- err }
	a := run(t, cfg).ready()
	// The next write fails as it would on a disk that is gone.
	if err := a.stores.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Apply(t.Context(), a.project("p")); err == nil {
		t.Error("the write was acknowledged")
	}
	want := <-told
	if err := a.stop(); !errors.Is(err, want) {
		t.Errorf("run ended with %v", err)
	}
}

func TestNodeThatCannotStopEndsAnyway(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	cfg.Tuning.Leave = 200 * time.Millisecond
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	hung := make(chan struct{})
	defer close(hung)
	a := run(t, cfg, func(c *Cluster) {
		c.open.add("disk", func() error { <-hung; return nil })
	}).ready()
	broken := errors.New("the disk did not answer")
	a.dead.pass(broken)
	if err := <-a.ended; !errors.Is(err, broken) || !strings.Contains(err.Error(), "not done within") {
		t.Errorf("run ended with %v", err)
	}
	a.once.Do(a.server.Stop)
}

func TestNodeThatTookASnapshotStartsAgain(t *testing.T) {
	t.Parallel()
	all := threeWith(t, func(cfg *Config) { cfg.Tuning.TrailingLogs = 1 })
	lead, rest := leader(t, all)
	away := rest[0]
	if err := away.stop(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		lead.apply(fmt.Sprint("p", i))
	}
	if err := lead.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	back := away.again().ready()
	if snaps, err := back.stores.Snapshots.List(); err != nil || len(snaps) == 0 {
		t.Fatalf("the node took no snapshot; the test shows nothing: %v", err)
	}
	lead.apply("behind the snapshot")
	if err := back.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := back.stop(); err != nil {
		t.Fatal(err)
	}
	again := back.again().ready()
	if err := again.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !again.sees("p0") || !again.sees("behind the snapshot") {
		t.Error("the node that came back lacks changes")
	}
}

func TestDiskThatHangsEndsALeavingNodeToo(t *testing.T) {
	t.Parallel()
	all := three(t)
	lead, _ := leader(t, all)
	hung, asked := make(chan struct{}), make(chan struct{})
	defer close(hung)
	lead.node.cfg.BeforeLeave = func(context.Context) { close(asked); <-hung }
	lead.cancel()
	<-asked
	broken := errors.New("the disk did not answer")
	lead.dead.pass(broken)
	if err := lead.stop(); !errors.Is(err, broken) {
		t.Errorf("run ended with %v", err)
	}
}

// TestNodeStopsThoughAPeerIsOff has a peer that does not even refuse
// connections: what Raft waits for must not make a good end a bad one.
func TestNodeStopsThoughAPeerIsOff(t *testing.T) {
	t.Parallel()
	for _, tune := range []Tuning{LAN(), WAN()} {
		if tune.Leave < tune.IO+time.Second {
			t.Errorf("stopping may take %v, one message %v", tune.Leave, tune.IO)
		}
	}
	var off atomic.Bool
	all := threeWith(t, func(cfg *Config) {
		cfg.Tuning.IO, cfg.Tuning.Leave = 2*time.Second, 10*time.Second
		cfg.dial = func(addr string, limit time.Duration) (net.Conn, error) {
			if off.Load() {
				<-time.After(limit)
				return nil, os.ErrDeadlineExceeded
			}
			return net.DialTimeout("tcp", addr, limit)
		}
	})
	lead, rest := leader(t, all)
	off.Store(true)
	rest[0].crash()
	rest[1].crash()
	wait.For(t, patience, "the leader to step down", func() bool { return lead.leadership.leading() == nil })
	if err := lead.stop(); err != nil {
		t.Error(err)
	}
}

func TestTheLeaderRefusingThisNodeDoesNotRefuseTheCommand(t *testing.T) {
	t.Parallel()
	for _, said := range []error{
		errs.New(errs.Unauthenticated, "you are not a member"),
		errs.New(errs.PermissionDenied, "you may not"),
		errs.New(errs.Unavailable, "I do not lead"),
	} {
		if err := forwardError(errs.ToStatus(said)); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%v becomes %v, want the client to try another node", said, err)
		}
	}
	if err := forwardError(status.Error(codes.Unavailable, "the connection broke")); errs.KindOf(err) != errs.OutcomeUnknown {
		t.Errorf("a broken connection becomes %v", err)
	}
}
