package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waypoint/api/entrypointpb"
)

const (
	// crowdCommand makes this binary a crowd of simulated instances.
	crowdCommand = "crowd"
	// joining is how many of them are on their way at a time.
	joining   = 128
	joinLimit = time.Minute
	pingEvery = 10 * time.Second
	// roundVariable is the variable whose value the crowd waits for.
	roundVariable = "ROUND"
)

// crowd is instances of one deployment, each with a connection of its own. It
// is a process of its own, so that what it uses is told apart, and does what
// its standard input says: "join N" adds N instances, "wait VALUE" waits until
// all have a configuration with that value. It answers each with a line.
type crowd struct {
	callers *callers
	addrs   []string
	lost    chan error

	mu      sync.Mutex
	members []*member
	got     map[string]*arrival
	changed chan struct{} // closed when got changes
}

// arrival is how far a value of the variable has come.
type arrival struct {
	instances   int
	first, last int64 // by the clock that never jumps, nanoseconds
}

// runCrowd takes its cluster and deployment from the environment, as an
// entrypoint does.
func runCrowd(ctx context.Context) error {
	debug.SetGCPercent(400) // it is not what is measured
	callers, err := newCallers(os.Getenv("WAYPOINT_SERVER_CA"), os.Getenv("WAYPOINT_ENTRYPOINT_TOKEN"))
	if err != nil {
		return err
	}
	c := &crowd{
		callers: callers, addrs: strings.Split(os.Getenv("WAYPOINT_SERVER_ADDR"), ","),
		lost: make(chan error, 1), got: map[string]*arrival{}, changed: make(chan struct{}),
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go c.ping(ctx)
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var count int
		var value string
		if _, err := fmt.Sscanf(orders.Text(), "join %d", &count); err == nil {
			err = c.join(ctx, count)
			if err != nil {
				return err
			}
			fmt.Println("joined", count)
			continue
		}
		if _, err := fmt.Sscanf(orders.Text(), "wait %s", &value); err != nil {
			return fmt.Errorf("order %q is unknown", orders.Text())
		}
		at, err := c.wait(ctx, value)
		if err != nil {
			return err
		}
		fmt.Println("have", value, at.first, at.last)
	}
	return orders.Err()
}

// join adds instances, the i-th on the i-th node.
func (c *crowd) join(ctx context.Context, count int) error {
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	var next atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, joining)
	for range joining {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
				if err := c.add(ctx, c.addrs[i%int64(len(c.addrs))]); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failed)
	return <-failed
}

func (c *crowd) add(ctx context.Context, addr string) error {
	m, err := c.callers.join(ctx, addr, c.take)
	if err != nil {
		return fmt.Errorf("instance on %s: %w", addr, err)
	}
	c.mu.Lock()
	c.members = append(c.members, m)
	c.mu.Unlock()
	go func() {
		err := m.receive()
		select {
		case c.lost <- fmt.Errorf("instance on %s: %w", addr, err):
		default: // the first is enough
		}
	}()
	return nil
}

// take counts a configuration.
func (c *crowd) take(down *entrypointpb.Down) {
	if down.GetConfig() == nil {
		return
	}
	now, err := monotonic()
	if err != nil {
		return // there is always that clock on Linux
	}
	for _, v := range down.GetConfig().GetVariables() {
		if v.GetName() == roundVariable {
			c.count(v.GetValue(), now)
		}
	}
}

func (c *crowd) count(value string, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.got[value]
	if at == nil {
		at = &arrival{first: now}
		c.got[value] = at
	}
	at.instances++
	at.last = max(at.last, now)
	if at.instances >= len(c.members) {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// wait returns when all instances have the value.
func (c *crowd) wait(ctx context.Context, value string) (arrival, error) {
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	for {
		c.mu.Lock()
		var at arrival
		if got := c.got[value]; got != nil {
			at = *got
		}
		members, changed := len(c.members), c.changed
		c.mu.Unlock()
		if at.instances == members {
			return at, nil
		}
		if at.instances > members {
			return at, fmt.Errorf("%d instances had value %s %d times", members, value, at.instances)
		}
		select {
		case <-changed:
		case err := <-c.lost:
			return at, err
		case <-ctx.Done():
			return at, errors.Join(fmt.Errorf("%d of %d instances have value %s", at.instances, members, value), ctx.Err())
		}
	}
}

// ping lets every instance give its sign of life, spread over the time.
func (c *crowd) ping(ctx context.Context) {
	const steps = 100
	tick := time.NewTicker(pingEvery / steps)
	defer tick.Stop()
	for step := 0; ; step++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		members := c.members
		c.mu.Unlock()
		for i := step % steps; i < len(members); i += steps {
			_ = members[i].ping() // one that is lost is told by who receives
		}
	}
}
