//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"waypoint/test/harness"
)

// fault is one way to disturb a cluster.
type fault struct {
	name string
	// begin disturbs the cluster. What it returns ends the disturbance; nil if
	// it has ended.
	begin func(ctx context.Context, s *strike) (mend, error)
	slow  bool // takes longer than a short run may
	alone bool // is not mixed with another fault
}

// mend ends a fault.
type mend func(ctx context.Context) error

// strike is what a fault may use of the world. Its random numbers are its own,
// so that one fault's draws do not change what comes after it.
type strike struct {
	*world
	random *rand.Rand
	taken  *taken
}

// taken are the nodes that another fault of the same time has chosen.
type taken struct {
	mu    sync.Mutex
	nodes []*harness.Node
}

// victim chooses a node that no other fault has, the leader as often as not.
func (s *strike) victim(ctx context.Context) *harness.Node {
	leader, node := s.random.IntN(2) == 0, s.random.IntN(len(s.members()))
	if leader {
		if n := s.leader(ctx); n != nil && s.take(n) {
			return n
		}
	}
	for i := range s.members() {
		if n := s.members()[(node+i)%len(s.members())]; s.take(n) {
			return n
		}
	}
	return s.members()[node]
}

func (s *strike) take(n *harness.Node) bool {
	s.taken.mu.Lock()
	defer s.taken.mu.Unlock()
	if slices.Contains(s.taken.nodes, n) {
		return false
	}
	s.taken.nodes = append(s.taken.nodes, n)
	return true
}

// leader returns the leading node, nil if none is found at once.
func (s *strike) leader(ctx context.Context) *harness.Node {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	n, err := s.cluster.Leader(ctx)
	if err != nil {
		return nil
	}
	return n
}

// between draws a time.
func (s *strike) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.random.Int64N(int64(most-least)))
}

// plan draws faults. The same seed draws the same.
type plan struct {
	faults []fault
	random *rand.Rand
	deck   []fault // what is to come before anything comes again
	mix    bool    // sometimes two at a time
}

func newPlan(seed uint64, faults []fault, mix bool) *plan {
	return &plan{faults: faults, random: rand.New(rand.NewPCG(seed, 0)), mix: mix}
}

// next returns the faults of the next step.
func (p *plan) next() []fault {
	if len(p.deck) == 0 {
		p.deck = slices.Clone(p.faults)
		p.random.Shuffle(len(p.deck), func(i, j int) { p.deck[i], p.deck[j] = p.deck[j], p.deck[i] })
	}
	step := p.deck[:1:1]
	p.deck = p.deck[1:]
	other, both := p.faults[p.random.IntN(len(p.faults))], p.random.IntN(3) == 0
	if p.mix && both && !step[0].alone && !other.alone && other.name != step[0].name {
		step = append(step, other)
	}
	return step
}

// nemesis disturbs a cluster until it has done enough.
type nemesis struct {
	world *world
	seed  uint64
	plan  *plan
	hold  time.Duration // how long a fault lasts at most
	quiet time.Duration // how long there is none after it
	steps int
	worst time.Duration // to be healthy again
}

// run disturbs until the time is over and each fault was there once.
func (n *nemesis) run(ctx context.Context, duration time.Duration) error {
	until := time.Now().Add(duration)
	for time.Now().Before(until) || n.steps < len(n.plan.faults) {
		if err := n.step(ctx); err != nil {
			return err
		}
	}
	n.world.timeline.note("%d steps; the cluster was healthy again at most %s after a fault", n.steps, n.worst.Round(time.Millisecond))
	return nil
}

// step begins one or two faults, ends them after a while, and waits for the
// cluster to be healthy.
func (n *nemesis) step(ctx context.Context) error {
	n.steps++
	faults, chosen := n.plan.next(), &taken{}
	var names []string
	var mends []mend
	random := rand.New(rand.NewPCG(n.seed, uint64(n.steps)))
	for i, f := range faults {
		names = append(names, f.name)
		s := &strike{world: n.world, taken: chosen, random: rand.New(rand.NewPCG(n.seed, uint64(n.steps)<<8|uint64(i)))}
		end, err := f.begin(ctx, s)
		if err != nil {
			return fmt.Errorf("step %d: begin %s: %w", n.steps, f.name, err)
		}
		if end != nil {
			mends = append(mends, end)
		}
	}
	if len(mends) > 0 {
		pause(ctx, n.lasts(random))
	}
	if err := together(ctx, mends); err != nil {
		return fmt.Errorf("step %d: end %s: %w", n.steps, strings.Join(names, " and "), err)
	}
	took, err := n.world.recover(ctx)
	if err != nil {
		return fmt.Errorf("step %d, after %s: %w", n.steps, strings.Join(names, " and "), err)
	}
	n.world.timeline.note("healthy again %s after %s", took.Round(time.Millisecond), strings.Join(names, " and "))
	n.worst = max(n.worst, took)
	pause(ctx, n.quiet)
	return ctx.Err()
}

// lasts draws how long a fault lasts: now and then longer than clients wait for
// an answer, so that the outcome of calls is unknown.
func (n *nemesis) lasts(random *rand.Rand) time.Duration {
	least, most := n.hold/3, n.hold
	if n.plan.mix && random.IntN(6) == 0 {
		least, most = 2*n.hold, 3*n.hold
	}
	return least + time.Duration(random.Int64N(int64(most-least)))
}

// together ends faults at the same time: a node that starts may need what
// another fault has taken away.
func together(ctx context.Context, mends []mend) error {
	ended := make(chan error, len(mends))
	for _, end := range mends {
		go func() { ended <- end(ctx) }()
	}
	var failed []error
	for range mends {
		failed = append(failed, <-ended)
	}
	return errors.Join(failed...)
}

// pause lets time pass in which the workloads work.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
