package cluster

import (
	"context"
	"sync"
)

// mark is a point in the history of the state.
type mark struct {
	epoch string
	index uint64
}

// rounds lets many callers share the answer to one question. A caller never
// gets the answer to a question that was put before it came: those that come
// during a round wait for the next.
type rounds struct {
	ask func(ctx context.Context) (mark, error)

	mu     sync.Mutex
	next   *round
	wake   chan struct{} // one slot
	closed chan struct{}
}

type round struct {
	done chan struct{}
	mark mark
	err  error
}

func newRounds(ask func(context.Context) (mark, error)) *rounds {
	return &rounds{ask: ask, wake: make(chan struct{}, 1), closed: make(chan struct{})}
}

// do takes part in the next round.
func (r *rounds) do(ctx context.Context) (mark, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	mine := r.next
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.mark, mine.err
	case <-ctx.Done():
		return mark{}, ctx.Err()
	case <-r.closed:
		return mark{}, errShutdown
	}
}

// run holds rounds, one at a time, until ctx ends.
func (r *rounds) run(ctx context.Context) error {
	defer close(r.closed)
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil
		}
		r.mu.Lock()
		now := r.next
		r.next = nil
		r.mu.Unlock()
		now.mark, now.err = r.ask(ctx)
		close(now.done)
	}
}
