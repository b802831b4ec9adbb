package serve

import (
	"context"
	"sync"

	"waypoint/state"
)

// guarded runs a stream's handler for as long as the caller's token is valid.
func (c *chain) guarded(ss *serverStream, held *credential, handler func() error) error {
	if held == nil {
		return handler()
	}
	defer c.watches.join(ss.ctx, c, held, ss)()
	return handler()
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
	streams map[*serverStream]struct{}
	end     context.CancelFunc
}

// join has ss ended when the token stops being valid, until the returned function
// is called.
func (w *watches) join(ctx context.Context, c *chain, held *credential, ss *serverStream) (leave func()) {
	key := watchKey{held.signed.GetId(), held.signed.GetExpiresUnix()}
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.byToken[key]
	if found == nil {
		found = &watch{streams: map[*serverStream]struct{}{}}
		if w.byToken == nil {
			w.byToken = map[watchKey]*watch{}
		}
		w.byToken[key] = found
		// It outlives the stream that it begins with, while there are others.
		ctx, found.end = context.WithCancel(context.WithoutCancel(ctx))
		c.watching.Go(func() { w.run(ctx, c, held, key, found) })
	}
	found.streams[ss] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(found.streams, ss); len(found.streams) == 0 {
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
	for ss := range found.streams {
		ss.end(refused)
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
