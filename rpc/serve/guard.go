package serve

import (
	"context"
	"errors"
	"sync"
	"time"

	"waypoint/internal/task"
	"waypoint/state"
)

// leaveWait is how long a handler whose caller was cut off may take to notice
// by its context, before its stream is ended under it.
const leaveWait = time.Second

// refusedError is the cause with which the context of a stream ends whose token
// stopped being valid.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// refusal returns why a stream's token stopped being valid, or nil.
func refusal(ctx context.Context) error {
	var refused refusedError
	if errors.As(context.Cause(ctx), &refused) {
		return refused.error
	}
	return nil
}

// guarded runs a stream's handler for as long as the caller's token is valid.
//
// A handler that waits for a message notices nothing but the end of its stream,
// and gRPC ends a stream only when the interceptor returns. So the handler runs
// in a goroutine of its own; if it must be left behind it ends a moment later,
// and the server's Stop waits for it. A prompt handler needs none.
func (c *chain) guarded(ss *serverStream, held *credential, handler func() error) error {
	if held == nil {
		return handler()
	}
	ctx, cancel := context.WithCancelCause(ss.ctx)
	defer cancel(nil)
	ss.ctx = ctx
	defer c.watches.join(ctx, c, held, cancel)()
	if c.Prompt[ss.method] {
		err := handler()
		if refused := refusal(ctx); refused != nil {
			return refused
		}
		return err
	}
	done := make(chan error, 1)
	c.detached.Add(1)
	go func() {
		defer c.detached.Done()
		done <- task.Protect(handler)
		cancel(nil)
	}()
	<-ctx.Done()
	refused := refusal(ctx)
	if refused == nil { // the handler or the call ended by itself
		return <-done
	}
	timer := time.NewTimer(leaveWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	return refused
}

// watches look after the tokens of open streams: one goroutine for each token,
// however many streams it has.
type watches struct {
	mu      sync.Mutex
	byToken map[watchKey]*watch
}

// watchKey names a token as it was sent.
type watchKey struct {
	id      string
	expires int64
}

// watch is the streams of one token.
type watch struct {
	streams map[*context.CancelCauseFunc]struct{}
	end     context.CancelFunc
}

// join has cancel called with a refusedError when the token stops being valid,
// until the returned function is called.
func (w *watches) join(ctx context.Context, c *chain, held *credential, cancel context.CancelCauseFunc) (leave func()) {
	key := watchKey{held.signed.GetId(), held.signed.GetExpiresUnix()}
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.byToken[key]
	if found == nil {
		found = &watch{streams: map[*context.CancelCauseFunc]struct{}{}}
		if w.byToken == nil {
			w.byToken = map[watchKey]*watch{}
		}
		w.byToken[key] = found
		// It outlives the stream that it begins with, while there are others.
		ctx, found.end = context.WithCancel(context.WithoutCancel(ctx))
		c.detached.Go(func() { w.run(ctx, c, held, key, found) })
	}
	found.streams[&cancel] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(found.streams, &cancel); len(found.streams) == 0 {
			w.drop(key, found)
		}
	}
}

// drop ends a watch. The caller holds mu.
func (w *watches) drop(key watchKey, found *watch) {
	found.end()
	if w.byToken[key] == found {
		delete(w.byToken, key)
	}
}

// run cuts the token's streams off when it stops being valid.
func (w *watches) run(ctx context.Context, c *chain, held *credential, key watchKey, found *watch) {
	refused := c.watch(ctx, held)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(key, found)
	if refused == nil {
		return
	}
	for cancel := range found.streams {
		(*cancel)(refusedError{refused})
	}
}

// watch returns why a token stopped being valid, or nil when ctx ends first.
func (c *chain) watch(ctx context.Context, held *credential) error {
	for {
		changes := state.NewWatchSet()
		row := c.Store.Read().Watch(changes).Token(held.signed.GetId())
		if err := c.valid(held.signed, row); err != nil {
			return err
		}
		if row.GetExpiresAt() == nil {
			_ = changes.Wait(ctx)
		} else {
			bounded, cancel := context.WithTimeout(ctx, row.GetExpiresAt().AsTime().Sub(c.Now()))
			_ = changes.Wait(bounded)
			cancel()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}
