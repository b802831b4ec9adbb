// Package read gives services a view of the state that is as current as their
// call asks for. It knows no service; how a node becomes current is its
// cluster's affair.
package read

import (
	"context"
	"time"

	"waypoint/errs"
	"waypoint/rpc/call"
	"waypoint/state"
)

// appliedWait bounds how long a call waits for its own write to arrive in the
// local state.
const appliedWait = 5 * time.Second

// Freshener makes the local state current.
type Freshener interface {
	// Fresh returns once everything that was acknowledged anywhere before the
	// call is in the local state. Without a quorum it fails with KIND_UNAVAILABLE.
	Fresh(ctx context.Context) error
}

// Reader opens views of one node's state.
type Reader struct {
	store *state.Store
	fresh Freshener
}

// New returns a reader of store that is made current by fresh.
func New(store *state.Store, fresh Freshener) *Reader {
	return &Reader{store: store, fresh: fresh}
}

// Tx returns a view that contains every write acknowledged before the call, or
// what this node happens to know if the call asked for stale data.
func (r *Reader) Tx(ctx context.Context) (*state.Tx, error) {
	if !call.From(ctx).Stale {
		if err := r.fresh.Fresh(ctx); err != nil {
			return nil, err
		}
	}
	return r.store.Read(), nil
}

// Local returns a view of what this node happens to know.
func (r *Reader) Local() *state.Tx { return r.store.Read() }

// At returns a view that contains the write of the given index, for a call that
// answers with what it has just written. If this node does not see it in time,
// that is errs.OutcomeUnknown.
func (r *Reader) At(ctx context.Context, index uint64) (*state.Tx, error) {
	epoch, here := r.store.Index()
	if here >= index {
		return r.store.Read(), nil
	}
	bounded, cancel := context.WithTimeout(ctx, appliedWait)
	defer cancel()
	if err := r.store.WaitIndex(bounded, epoch, index); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, errs.New(errs.OutcomeUnknown, // never Unavailable, which says that nothing was done
			"the change was made, but this node has not seen it after %s: repeat the call with its request id, or read from another node: %w", appliedWait, err)
	}
	return r.store.Read(), nil
}
