package serve

import (
	"context"
	"time"

	"waypoint/internal/task"
	"waypoint/state"
)

// leaveWait is how long a handler whose caller was cut off may take to notice
// by its context, before its stream is ended under it.
const leaveWait = time.Second

// guarded runs a stream's handler for as long as the caller's token is valid.
//
// A handler that waits for a message notices nothing but the end of its stream,
// and gRPC ends a stream only when the interceptor returns. So the handler runs
// in a goroutine of its own; if it must be left behind it ends a moment later,
// and the server's Stop waits for it.
func (c *chain) guarded(ss *serverStream, held *credential, handler func() error) error {
	if held == nil {
		return handler()
	}
	ctx, cancel := context.WithCancelCause(ss.ctx)
	defer cancel(nil)
	ss.ctx = ctx

	done := make(chan error, 1)
	c.detached.Add(1)
	go func() {
		defer c.detached.Done()
		done <- task.Protect(handler)
		cancel(nil)
	}()
	refusal := c.watch(ctx, held)
	if refusal == nil { // the handler or the call ended by itself
		return <-done
	}
	cancel(refusal)
	timer := time.NewTimer(leaveWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	return refusal
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
