package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"waypoint/test/harness"
)

const (
	probes     = 6  // writers, spread over the nodes
	strikes    = 20 // of our leader, in each way
	peerStrike = 5  // of etcd's
	warmUp     = 10 // writes of each probe before a strike, and after
)

// measureFailover measures how long writers wait when the leader is killed, and
// when it is asked to stop.
func (o options) measureFailover(ctx context.Context, c *harness.Cluster) ([]row, error) {
	if _, err := c.Run(ctx, "project", "apply", benchProject); err != nil {
		return nil, err
	}
	peer, err := startEtcd(ctx, c.Dir, filepath.Join("bin", "tools", "etcdload"))
	if err != nil {
		return nil, err
	}
	defer peer.stop()
	killed, err := strikeInTurns(ctx, c, peer, syscall.SIGKILL)
	if err != nil {
		return nil, err
	}
	rows := killed.rows("leader killed", peer.name(), 900, 1500)
	stopped, err := strikeInTurns(ctx, c, peer, syscall.SIGTERM)
	if err != nil {
		return rows, err
	}
	rows = append(rows, stopped.rows("leader stopped", peer.name(), 50, 200)...)
	return append(rows, row{name: "failover, leader stopped: failed calls", unit: "per stop", samples: stopped.ours.failed,
		peer: peer.name(), against: stopped.theirs.failed, bar: bar{neverAbove, 0}}), nil
}

// outages are what writers saw of several strikes, one figure each.
type outages struct {
	one    []float64 // the longest time between two successes of any one writer, ms
	all    []float64 // the longest time without a success of any writer, ms
	failed []float64 // failed calls
	back   []float64 // from the start of the node until all nodes are healthy, ms
}

// turns are the outages of both systems.
type turns struct{ ours, theirs outages }

// rows is the table of what was seen. The bars apply to the stricter figure,
// that of the writer that waited longest.
func (t turns) rows(what, peer string, usual, worst float64) []row {
	what = "failover, " + what + ": "
	return []row{
		{name: what + "a writer waits at most", unit: "ms", samples: t.ours.one, peer: peer, against: t.theirs.one, bar: bar{atMost, usual}},
		{name: what + "the worst of these", unit: "ms", samples: t.ours.one, peer: peer, against: t.theirs.one, bar: bar{neverAbove, worst}},
		{name: what + "no write of anybody for", unit: "ms", samples: t.ours.all, peer: peer, against: t.theirs.all},
		{name: what + "node healthy again in", unit: "ms", samples: t.ours.back, peer: peer, against: t.theirs.back},
	}
}

// strikeInTurns strikes the leaders of both systems; etcd's less often, after
// every few of ours.
func strikeInTurns(ctx context.Context, c *harness.Cluster, peer *etcd, how syscall.Signal) (turns, error) {
	var t turns
	for n := range strikes {
		if err := t.ours.strike(ctx, own{c}, how); err != nil {
			return t, err
		}
		if n%(strikes/peerStrike) == 0 {
			if err := t.theirs.strike(ctx, peer, how); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}

// strike ends the leader while writers write, adds what they saw, and starts it
// again.
func (o *outages) strike(ctx context.Context, s system, how syscall.Signal) (err error) {
	g, err := begin(ctx, s, load{clients: probes, op: "probe"})
	if err != nil {
		return err
	}
	w := &witness{answers: make([][]time.Time, probes)}
	var reading sync.WaitGroup
	reading.Go(func() { w.read(g) })
	stop := sync.OnceValue(func() error {
		g.signal(syscall.SIGTERM)
		reading.Wait()
		return g.end()
	})
	defer func() { err = errors.Join(err, stop()) }()
	if err := w.await(ctx, time.Now()); err != nil {
		return err
	}
	hit, err := s.strike(ctx, how)
	if err != nil {
		return err
	}
	if err := w.await(ctx, time.Now()); err != nil {
		return fmt.Errorf("%s after its leader's end: %w", s.name(), err)
	}
	if err := stop(); err != nil {
		return err
	}
	one, all := w.gaps(hit.at)
	o.one, o.all = append(o.one, milliseconds(one)), append(o.all, milliseconds(all))
	o.failed = append(o.failed, float64(w.failed))
	started := time.Now()
	err = hit.again(ctx)
	o.back = append(o.back, milliseconds(time.Since(started)))
	return err
}

// witness is what the writers have told.
type witness struct {
	mu      sync.Mutex
	answers [][]time.Time // of successful writes, by writer
	failed  int
	last    string // the newest failure
}

// read takes answers until the generator ends.
func (w *witness) read(g *generator) {
	for {
		var a answer
		if err := g.out.Decode(&a); err != nil {
			if !errors.Is(err, io.EOF) {
				w.note(func() { w.last = err.Error() })
			}
			return
		}
		w.note(func() {
			if a.Error != "" {
				w.failed, w.last = w.failed+1, a.Error
				return
			}
			w.answers[a.Client] = append(w.answers[a.Client], time.Unix(0, a.At))
		})
	}
}

func (w *witness) note(what func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what()
}

// await waits until every writer has had a few successes since a moment.
func (w *witness) await(ctx context.Context, since time.Time) error {
	return harness.Until(ctx, 30*time.Second, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, answers := range w.answers {
			if len(answers) < warmUp || !answers[len(answers)-warmUp].After(since) {
				return fmt.Errorf("writer %d has no success any more; the newest failure of any is %q", i, w.last)
			}
		}
		return nil
	})
}

// gaps returns the longest time between two successes of one writer, and of all
// of them together, that ended after a moment.
func (w *witness) gaps(after time.Time) (one, all time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var together []time.Time
	for _, answers := range w.answers {
		one = max(one, longest(answers, after))
		together = append(together, answers...)
	}
	slices.SortFunc(together, time.Time.Compare)
	return one, longest(together, after)
}

// longest is the longest time between two neighbours, of which the later is
// after a moment.
func longest(sorted []time.Time, after time.Time) time.Duration {
	var gap time.Duration
	for i := 1; i < len(sorted); i++ {
		if sorted[i].After(after) {
			gap = max(gap, sorted[i].Sub(sorted[i-1]))
		}
	}
	return gap
}
