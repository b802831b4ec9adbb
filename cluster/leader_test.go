package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/internal/wait"
)

// leaderRuns records the tenures of one node.
type leaderRuns struct {
	began chan Leader
	ended chan context.Context
}

func watchLeader() (leaderRuns, func(*Cluster)) {
	r := leaderRuns{began: make(chan Leader, 8), ended: make(chan context.Context, 8)}
	return r, func(c *Cluster) {
		c.WhileLeader("test", func(ctx context.Context, lead Leader) error {
			r.began <- lead
			<-ctx.Done()
			r.ended <- ctx
			return ctx.Err()
		})
	}
}

func noop() *commandpb.Command {
	return &commandpb.Command{Kind: &commandpb.Command_Noop{Noop: &commandpb.Noop{}}}
}

func TestLeaderTaskLivesAsLongAsLeadership(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	runs, register := watchLeader()
	a := run(t, cfg, register).ready()
	b := a.join("b")
	voters(t, []*member{a, b}, 2)
	lead := <-runs.began
	if res, err := lead.Apply(t.Context(), noop()); err != nil || res.GetIndex() == 0 {
		t.Fatalf("apply as leader: %v, %v", res, err)
	}
	if err := a.transfer(); err != nil {
		t.Fatal(err)
	}
	if ctx := <-runs.ended; !errors.Is(context.Cause(ctx), errLeadershipLost) {
		t.Errorf("the task ended because of %v", context.Cause(ctx))
	}
	_, err := lead.Apply(t.Context(), noop())
	if !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.StaleAttempt) {
		t.Errorf("apply as a former leader: %v", err)
	}
}

// Who finds the new leader before it is ready is not sent away.
func TestNewLeaderIsWaitedForUntilItIsReady(t *testing.T) {
	t.Parallel()
	all := three(t)
	old, rest := leader(t, all)
	next := rest[0]
	for name, call := range map[string]func(context.Context) error{
		"write": func(ctx context.Context) error {
			_, err := next.ApplyBatch(ctx, []*commandpb.Command{next.project("after")})
			return err
		},
		"read": func(ctx context.Context) error {
			_, _, err := next.ReadIndex(ctx)
			return err
		},
	} {
		// It cannot apply what was committed before, which it must to be ready.
		busy := next.store.Begin()
		old.apply("before-" + name)
		if err := old.raft.LeadershipTransferToServer(raft.ServerID(next.NodeID()), raft.ServerAddress(next.NodeID())).Error(); err != nil {
			t.Fatal(err)
		}
		wait.For(t, patience, "the other node to lead", func() bool { return next.raft.State() == raft.Leader })
		time.AfterFunc(100*time.Millisecond, busy.Abort)
		if err := call(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := next.transfer(); err != nil {
			t.Fatal(err)
		}
		old, _ = leader(t, all)
		if old == next {
			t.Fatal("the node still leads")
		}
	}
}

func TestLeadershipGoesOnWhenATaskFails(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	fail := make(chan error)
	a := run(t, cfg, func(c *Cluster) {
		c.WhileLeader("test", func(ctx context.Context, _ Leader) error {
			select {
			case err := <-fail:
				return err
			case <-ctx.Done():
				return nil
			}
		})
	}).ready()
	b := a.join("b")
	voters(t, []*member{a, b}, 2)
	fail <- errors.New("broken")
	wait.For(t, patience, "b to lead", func() bool { return b.leadership.leading() != nil })
	a.apply("p")
}

func TestLoneLeaderStartsAFailedTaskAgain(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{}, 8)
	a := run(t, cfg, func(c *Cluster) {
		c.WhileLeader("test", func(ctx context.Context, _ Leader) error {
			started <- struct{}{}
			if len(started) < 3 {
				panic("broken")
			}
			<-ctx.Done()
			return nil
		})
	})
	wait.For(t, patience, "the third start", func() bool { return len(started) == 3 })
	a.ready().apply("p")
}

func TestCallersShareARoundButNeverAnOldOne(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan uint64)
	r := newRounds(func(context.Context) (mark, error) {
		asked <- struct{}{}
		return mark{"e", <-answer}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()

	got := make(chan uint64, 4)
	call := func() {
		m, err := r.do(t.Context())
		if err != nil {
			t.Error(err)
		}
		got <- m.index
	}
	go call()
	<-asked // the first round runs: whoever comes now waits for the next
	late := 3
	for range late {
		go call()
	}
	wait.For(t, patience, "the late callers", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.next != nil
	})
	answer <- 1
	if first := <-got; first != 1 {
		t.Errorf("the first caller got %d", first)
	}
	for done := 0; done < late; {
		select {
		case <-asked:
			answer <- 2
		case n := <-got:
			done++
			if n != 2 {
				t.Errorf("a late caller got the answer of round %d", n)
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := r.do(t.Context()); !errors.Is(err, errShutdown) {
		t.Errorf("after the end: %v", err)
	}
}

func TestWaitingCommandsAreGatheredWithinBounds(t *testing.T) {
	t.Parallel()
	q := newQueue()
	for i := range 10 {
		if err := q.put(t.Context(), &proposal{size: i}); err != nil {
			t.Fatal(err)
		}
	}
	var sizes []int
	for _, tt := range []struct{ count, bytes, want int }{
		{4, 100, 4},  // 0 1 2 3
		{100, 10, 2}, // 4 5, as 6 does not fit
		{100, 10, 1}, // 6
		{100, 3, 1},  // 7 alone is too large, and goes alone
		{100, 100, 2},
	} {
		batch := q.gather(t.Context(), tt.count, tt.bytes)
		if len(batch) != tt.want {
			t.Errorf("gathered %d within %d and %d bytes, want %d", len(batch), tt.count, tt.bytes, tt.want)
		}
		for _, p := range batch {
			sizes = append(sizes, p.size)
		}
	}
	for i, size := range sizes {
		if i != size {
			t.Fatalf("the order is %v", sizes)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if batch := q.gather(ctx, 1, 1); batch != nil {
		t.Errorf("gathered %v from nothing", batch)
	}
}
