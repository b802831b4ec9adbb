package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"waypoint/internal/task"
)

// Run takes part in the cluster until ctx ends, and then leaves in order. It
// returns nil if it could, and an error if a part failed or the process must not
// go on; then it has only closed what still could be closed.
func (c *Cluster) Run(ctx context.Context) error {
	// The parts outlive ctx: leaving needs them.
	group := task.NewGroup(context.WithoutCancel(ctx))
	failed := make(chan error, 1)
	for _, part := range c.parts() {
		group.Go(part.name, func(ctx context.Context) error {
			err := part.run(ctx)
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
			return err
		})
	}
	var err error
	select {
	case <-ctx.Done():
		err = c.leaveOrDie(context.WithoutCancel(ctx))
	case err = <-failed:
		if errors.Is(err, errRemoved) {
			// What is attached here can still move.
			err = errors.Join(err, c.leaveOrDie(context.WithoutCancel(ctx)))
		}
	case <-c.dead.done:
		err = c.dead.err
	}
	return errors.Join(err, c.stop(group))
}

type part struct {
	name string
	run  func(ctx context.Context) error
}

// parts are what runs as long as the node does.
func (c *Cluster) parts() []part {
	return []part{
		{"listener", c.listener.Run},
		{"gossip", func(ctx context.Context) error { return c.gossip.Run(ctx, c.lookup.gossipAddrs) }},
		{"leader watch", c.following.run},
		{"leadership notices", c.leadership.drain},
		{"leadership", c.leadership.run},
		{"log entries", c.writes.proposer.run},
		{"log results", c.writes.proposer.answer},
		{"messages to the leader", c.writes.forward.run},
		{"leader's read index", c.reads.own.run},
		{"read index", c.reads.remote.run},
		{"announcement", c.announcement.run},
		{"addresses", c.announcement.remember},
		{"standing", c.standing.run},
		{"peer connections", c.tend},
	}
}

// tend drops connections to nodes that are gone for good, and connects to the
// others before that is needed.
func (c *Cluster) tend(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.peers.prune()
			c.time.Now() // so that it knows when the newest entry came
			c.peers.warm()
		case <-ctx.Done():
			return nil
		}
	}
}

// leaveOrDie leaves in order. If the node comes to its end on the way, by a disk
// that hangs, Raft may never answer, and leaving is not waited for.
func (c *Cluster) leaveOrDie(ctx context.Context) error {
	left := make(chan struct{})
	go func() {
		defer close(left)
		c.leave(ctx)
	}()
	select {
	case <-left:
		return nil
	case <-c.dead.done:
		return c.dead.err
	}
}

// leave goes in the order in which others miss the least.
func (c *Cluster) leave(ctx context.Context) {
	// Writes go on at once under the new leader, before anything here is slow.
	if c.leadership.leading() != nil {
		if err := c.transfer(); err != nil {
			c.logger.Warn("left without handing over leadership", "error", err)
		}
	}
	// What is attached here moves on while this node still serves.
	if c.cfg.BeforeLeave != nil {
		bounded, cancel := context.WithTimeout(ctx, c.tune.BeforeLeave)
		c.cfg.BeforeLeave(bounded)
		cancel()
	}
	// Sessions may have made it leader again.
	if c.leadership.leading() != nil {
		_ = c.transfer()
	}
	// The others need not find out that this node is gone.
	if err := c.gossip.Leave(); err != nil {
		c.logger.Debug("left without a goodbye", "error", err)
	}
}

// stop ends the parts and closes what is open, within a bound: a disk that
// hangs may hold some of it for ever, and the process ends anyway.
func (c *Cluster) stop(group *task.Group) error {
	done := make(chan error, 1)
	go func() {
		group.Stop()
		err := group.Wait()
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		done <- errors.Join(err, c.open.close())
	}()
	late := time.NewTimer(c.tune.Leave)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return fmt.Errorf("stop node: not done within %v", c.tune.Leave)
	}
}

// Close closes a Cluster that was opened and is not run.
func (c *Cluster) Close() error { return c.open.close() }

// closers closes what was opened, the last first.
type closers struct {
	steps []closer
}

type closer struct {
	name  string
	close func() error
}

func (c *closers) add(name string, close func() error) {
	c.steps = append(c.steps, closer{name, close})
}

func (c *closers) close() error {
	var failed []error
	for i := len(c.steps) - 1; i >= 0; i-- {
		if err := c.steps[i].close(); err != nil {
			failed = append(failed, fmt.Errorf("close %s: %w", c.steps[i].name, err))
		}
	}
	c.steps = nil
	return errors.Join(failed...)
}
