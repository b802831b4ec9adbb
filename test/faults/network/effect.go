//go:build linux

package network

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Effect is what happens to packets on their way.
type Effect struct {
	Cut       bool          // none arrives
	Loss      float64       // the share that is lost, 0 to 1
	Duplicate float64       // the share that arrives twice, 0 to 1
	Delay     time.Duration // how late each is at least
	Jitter    time.Duration // how much later each may be than that, which changes the order
}

// and is what two effects at a time do.
func (e Effect) and(other Effect) Effect {
	return Effect{
		Cut:       e.Cut || other.Cut,
		Loss:      1 - (1-e.Loss)*(1-other.Loss),
		Duplicate: 1 - (1-e.Duplicate)*(1-other.Duplicate),
		Delay:     e.Delay + other.Delay,
		Jitter:    e.Jitter + other.Jitter,
	}
}

// Path is the way from one host to another. The way back is another path.
type Path struct{ From, To *Host }

// Between returns the paths from each host of a set to each of another.
func Between(from, to []*Host) []Path {
	var paths []Path
	for _, a := range from {
		for _, b := range to {
			if a != b {
				paths = append(paths, Path{a, b})
			}
		}
	}
	return paths
}

// Both returns the paths between two sets of hosts in both directions.
func Both(some, others []*Host) []Path {
	return append(Between(some, others), Between(others, some)...)
}

// Counts is what became of packets.
type Counts struct {
	Delivered uint64 // as often as they were handed to the other host
	Dropped   uint64
	Late      uint64 // of those delivered, how many were held back
}

// path is the state of a Path.
type path struct {
	mu      sync.Mutex
	random  *rand.Rand
	effects []*Effect
	total   Effect
	counts  Counts
}

// Disturb adds an effect to paths until undo is called. Effects on the same
// path add up: it is cut if one of them cuts it.
func (n *Network) Disturb(e Effect, paths ...Path) (undo func()) {
	for _, p := range paths {
		n.path(p).add(&e)
	}
	return sync.OnceFunc(func() {
		for _, p := range paths {
			n.path(p).remove(&e)
		}
	})
}

// Counts returns what has become of the packets of some paths, in sum.
func (n *Network) Counts(paths ...Path) Counts {
	var sum Counts
	for _, p := range paths {
		state := n.path(p)
		state.mu.Lock()
		sum.Delivered += state.counts.Delivered
		sum.Dropped += state.counts.Dropped
		sum.Late += state.counts.Late
		state.mu.Unlock()
	}
	return sum
}

func (n *Network) path(p Path) *path {
	n.mu.RLock()
	known, ok := n.paths[p]
	n.mu.RUnlock()
	if ok {
		return known
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if known, ok = n.paths[p]; !ok {
		from, to := p.From.addr.As4(), p.To.addr.As4()
		known = &path{random: rand.New(rand.NewPCG(n.seed, uint64(from[3])<<8|uint64(to[3])))}
		n.paths[p] = known
	}
	return known
}

func (p *path) add(e *Effect) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.effects = append(p.effects, e)
	p.sum()
}

func (p *path) remove(e *Effect) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.effects = slices.DeleteFunc(p.effects, func(other *Effect) bool { return other == e })
	p.sum()
}

func (p *path) sum() {
	p.total = Effect{}
	for _, e := range p.effects {
		p.total = p.total.and(*e)
	}
}

// fate decides on one packet: how late each copy of it arrives. No copy means
// that it is lost.
func (p *path) fate() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.total
	if e.Cut || e.Loss > 0 && p.random.Float64() < e.Loss {
		p.counts.Dropped++
		return nil
	}
	copies := []time.Duration{p.delay()}
	if e.Duplicate > 0 && p.random.Float64() < e.Duplicate {
		copies = append(copies, p.delay())
	}
	for _, delay := range copies {
		p.counts.Delivered++
		if delay > 0 {
			p.counts.Late++
		}
	}
	return copies
}

func (p *path) delay() time.Duration {
	delay := p.total.Delay
	if p.total.Jitter > 0 {
		delay += time.Duration(p.random.Int64N(int64(p.total.Jitter)))
	}
	return delay
}

// overflow notes that a copy did not fit into the queue after all.
func (p *path) overflow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Delivered--
	p.counts.Late--
	p.counts.Dropped++
}
