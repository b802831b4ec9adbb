package cluster

import (
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/raft"
)

var errLeaderChanged = errors.New("the leader has changed")

// following knows who leads, and tells when that changes.
type following struct {
	*node
	mu      sync.Mutex
	leader  string          // "": nobody that this node knows of
	ctx     context.Context // ends when leader leads no more
	cancel  context.CancelCauseFunc
	changed chan struct{} // closed at the next change
}

func newFollowing(n *node) *following {
	return &following{node: n, changed: make(chan struct{})}
}

// LeaderID returns the id of the leader, "" if this node knows of none.
func (f *following) LeaderID() string {
	_, id := f.raft.LeaderWithID()
	return string(id)
}

// current returns the leader, a context that ends when it leads no more, and a
// channel that is closed at the next change. Before run, nobody leads.
func (f *following) current() (leader string, ctx context.Context, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leader, f.ctx, f.changed
}

// run keeps up with Raft until ctx ends.
func (f *following) run(ctx context.Context) error {
	heard := make(chan raft.Observation, 1)
	observer := raft.NewObserver(heard, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	f.raft.RegisterObserver(observer)
	defer f.raft.DeregisterObserver(observer)
	for {
		f.set(ctx, f.LeaderID())
		select {
		// An observation may be dropped, but only while one lies here: whoever
		// reads it then asks Raft for the newest.
		case <-heard:
		case <-ctx.Done():
			f.set(ctx, "")
			return nil
		}
	}
}

func (f *following) set(ctx context.Context, leader string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if leader == f.leader {
		return
	}
	if f.cancel != nil {
		f.cancel(errLeaderChanged)
	}
	f.leader = leader
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	close(f.changed)
	f.changed = make(chan struct{})
}
