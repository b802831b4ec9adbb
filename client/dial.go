package client

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/connectivity"

	"waypoint/errs"
	"waypoint/internal/task"
)

var errClosed = errs.New(errs.Canceled, "the client is closed")

// link returns the current link, counted, and makes one if there is none.
// Callers that come meanwhile wait for that one.
func (c *Client) link(ctx context.Context) (*link, error) {
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.life.Done():
		return nil, errClosed
	}
	if l, err := c.live(); l != nil || err != nil {
		return l, err
	}
	l, err := c.race(ctx)
	if err != nil {
		return nil, err
	}
	return l, c.adopt(l)
}

func (c *Client) live() (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if c.current != nil && c.current.acquire() {
		return c.current, nil
	}
	return nil, nil
}

// adopt makes l the current link and starts what goes with it.
func (c *Client) adopt(l *link) error {
	l.acquire()
	c.book.good(l.addr)
	c.met.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		l.cc.Close()
		return errClosed
	}
	c.current = l
	c.open[l] = struct{}{}
	c.background(func() { c.watch(l) })
	if c.cfg.Token != "" {
		c.background(func() { c.follow(l) })
	}
	c.cfg.Logger.Debug("connected", "server", l.addr)
	return nil
}

// background runs fn beside the calls. A defect in it costs what it does for
// the connection, never the program, which may be somebody else's init process.
func (c *Client) background(fn func()) {
	c.tasks.Go(func() {
		if err := task.Protect(func() error { fn(); return nil }); err != nil {
			c.cfg.Logger.Error("the connection to the servers is not looked after any more", "error", err)
		}
	})
}

// watch retires a link when its connection ends or says that it will.
func (c *Client) watch(l *link) {
	l.cc.WaitForStateChange(c.life, connectivity.Ready)
	if c.life.Err() == nil && !l.isRetired() {
		c.cfg.Logger.Debug("connection ended", "server", l.addr)
		c.fail(l, "the connection ended")
	}
	// The link stays in the set until its last stream is over.
	for s := l.cc.GetState(); s != connectivity.Shutdown; s = l.cc.GetState() {
		if !l.cc.WaitForStateChange(c.life, s) {
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, l)
}

// fail leaves a link whose node is a worse choice from now on.
func (c *Client) fail(l *link, why string) {
	c.book.mark(l.addr, why)
	c.mu.Lock()
	if c.current == l {
		c.failed = l.addr
	}
	c.mu.Unlock()
	c.leave(l)
}

// leave lets new calls go elsewhere; what runs on the link goes on.
func (c *Client) leave(l *link) {
	c.mu.Lock()
	if c.current == l {
		c.current = nil
	}
	c.mu.Unlock()
	l.retire()
}

// dialed is how one address answered.
type dialed struct {
	link *link
	err  error
}

// race tries the addresses in order, the next one as soon as one has failed
// or is slow. The first that answers wins. If all that answer are servers of
// another cluster and none of this one was ever met, the error is final: the
// configuration is wrong, and waiting will not help.
func (c *Client) race(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.life, cancel)
	defer stop()
	defer cancel()
	addrs := c.book.order(c.cfg.Spread)
	answers := make(chan dialed, len(addrs))
	slow := time.NewTicker(c.tuning.stagger)
	defer slow.Stop()
	strangers := 0
	for next, pending := 0, 0; next < len(addrs) || pending > 0; {
		if ctx.Err() != nil {
			discard(answers, pending)
			return nil, ctx.Err()
		}
		if next < len(addrs) {
			c.try(ctx, addrs[next], answers)
			next, pending = next+1, pending+1
		}
		select {
		case <-slow.C:
		case a := <-answers:
			pending--
			if a.err == nil {
				cancel()
				discard(answers, pending)
				return a.link, nil
			}
			if stranger := (strangerError{}); errors.As(a.err, &stranger) {
				strangers++
			}
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if strangers == len(addrs) && !c.met.Load() {
		return nil, errs.New(errs.Unauthenticated, "whoever answers is not a server of this cluster, or the server CA that is configured is wrong: %s", c.book.summary())
	}
	return nil, errs.New(errs.Unavailable, "no server answers: %s", c.book.summary())
}

// try connects in the background; race waits for each answer.
func (c *Client) try(ctx context.Context, addr string, answers chan<- dialed) {
	go func() {
		var l *link
		err := task.Protect(func() (err error) {
			l, err = c.connect(ctx, addr)
			return err
		})
		if err != nil && ctx.Err() == nil {
			c.book.mark(addr, err.Error())
		}
		answers <- dialed{l, err}
	}()
}

// discard waits for the losers of a race.
func discard(answers <-chan dialed, pending int) {
	for ; pending > 0; pending-- {
		if a := <-answers; a.link != nil {
			a.link.cc.Close()
		}
	}
}

// typed turns an error of link into one of package errs.
func typed(err error) error {
	var known *errs.Error
	if errors.As(err, &known) {
		return err
	}
	return errs.New(errs.KindOf(err), "connect to a server: %w", err)
}
