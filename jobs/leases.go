package jobs

import (
	"context"
	"sync"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/nodepb"
	"waypoint/state"
)

// leases holds until when each running attempt is left alone.
type leases struct {
	store *state.Store
	after time.Duration // from a renewal to the end: lease and margin

	mu      sync.Mutex
	leading bool
	byJob   map[string]*lease
}

type lease struct {
	attempt uint32
	until   time.Time
	over    bool // it ran out: no renewal brings it back
}

func newLeases(store *state.Store, after time.Duration) *leases {
	return &leases{store: store, after: after}
}

func (l *leases) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leading, l.byJob = true, make(map[string]*lease)
}

func (l *leases) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leading, l.byJob = false, nil
}

// follow gives every running attempt a lease that has none, forgets those of
// others, and returns how long until the next one runs out; 0 without any.
func (l *leases) follow(running []*jobpb.Job, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	current := make(map[string]*lease, len(running))
	var next time.Duration
	for _, job := range running {
		held := l.byJob[job.GetId()]
		if held == nil || held.attempt != job.GetAttempt() {
			held = &lease{attempt: job.GetAttempt(), until: now.Add(l.after)}
		}
		current[job.GetId()] = held
		if left := max(held.until.Sub(now), time.Millisecond); next == 0 || left < next {
			next = left
		}
	}
	l.byJob = current
	return next
}

// expired returns the attempts whose leases have run out.
func (l *leases) expired(now time.Time) []*deploymentpb.Fence {
	l.mu.Lock()
	defer l.mu.Unlock()
	var fences []*deploymentpb.Fence
	for id, held := range l.byJob {
		if held.over || !now.Before(held.until) {
			held.over = true
			fences = append(fences, &deploymentpb.Fence{JobId: id, Attempt: held.attempt})
		}
	}
	return fences
}

// aheadLimit bounds the wait for this node to have applied what another has.
const aheadLimit = time.Second

// awaitAttempts waits until the state knows every attempt that is to be
// renewed: a follower may apply an assignment, and its runner ask for more time,
// before the leader itself has applied it. It returns false if that takes too
// long.
func (l *leases) awaitAttempts(ctx context.Context, renewals []*nodepb.Renewal) bool {
	bounded, cancel := context.WithTimeout(ctx, aheadLimit)
	defer cancel()
	for {
		changes, known := state.NewWatchSet(), true
		tx := l.store.Read().Watch(changes)
		for _, renewal := range renewals {
			job := tx.Job(renewal.GetFence().GetJobId()) // one that is not there has been pruned
			known = known && (job == nil || job.GetAttempt() >= renewal.GetFence().GetAttempt())
		}
		if known {
			return true
		}
		if changes.Wait(bounded) != nil {
			return false
		}
	}
}

func (l *leases) isLeading() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leading
}

func (l *leases) renew(renewals []*nodepb.Renewal, now time.Time) []bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.leading {
		return nil
	}
	tx := l.store.Read()
	granted := make([]bool, len(renewals))
	for i, renewal := range renewals {
		fence := renewal.GetFence()
		job := tx.Job(fence.GetJobId())
		if job.GetState() != jobpb.State_STATE_RUNNING || job.GetAttempt() != fence.GetAttempt() ||
			job.GetRunnerId() != renewal.GetRunnerId() {
			continue
		}
		held := l.byJob[job.GetId()]
		if held == nil || held.attempt != job.GetAttempt() {
			held = &lease{attempt: job.GetAttempt()}
			l.byJob[job.GetId()] = held
		}
		if !held.over {
			held.until, granted[i] = now.Add(l.after), true
		}
	}
	return granted
}
