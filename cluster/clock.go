package cluster

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"waypoint/api/commandpb"
	"waypoint/api/nodepb"
)

const (
	// clockOff is how far a clock may be off before the log says so.
	clockOff = 30 * time.Second
	// stampEvery is how long the leader lets pass without an entry: from entries
	// the others learn the time.
	stampEvery = 30 * time.Second
	// ahead of the clocks, the cluster's time takes a tenth off each second until
	// they have caught up.
	slower = 10
)

// clusterTime is the time that log entries carry. Requests, tokens and ages are
// judged by it, so it must be the same everywhere, and one node's clock must not
// decide it: it goes on as a stopwatch does from the newest entry, and the leader
// brings it in line with the clock in the middle of the voters' clocks. It steps
// forward at once; it never steps back and never stands still: where it is ahead
// it goes a little slower. Times are unix nanoseconds here.
type clusterTime struct {
	*node
	peers   *peers
	leading func() *tenure
	started time.Time // what the stopwatch counts from

	mu     sync.Mutex
	fresh  bool            // the state has been current since this node was started
	seen   int64           // time of the newest entry that was looked at
	value  int64           // the cluster's time
	at     time.Duration   // on the stopwatch when it was that
	agreed int64           // what the clocks say it was when the stopwatch began; 0: not asked yet
	off    map[string]bool // nodes whose clocks are known to be
}

func newClusterTime(n *node, p *peers, leading func() *tenure) *clusterTime {
	return &clusterTime{node: n, peers: p, leading: leading, started: time.Now(), off: make(map[string]bool)}
}

// Now returns the cluster's time: what an entry would carry now, as far as this
// node knows. One that has not caught up yet goes by its own clock.
func (c *clusterTime) Now() time.Time {
	leads := c.leading() != nil
	now := c.read(leads)
	if leads || c.settled() {
		return now
	}
	if wall := c.Clock(); wall.After(now) {
		return wall
	}
	return now
}

// settle says that the state is current: its newest entry is not of long ago.
func (c *clusterTime) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = true
}

func (c *clusterTime) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fresh
}

func (c *clusterTime) read(leads bool) time.Time {
	last := unixNano(c.store.Meta().Time)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(time.Since(c.started), last, leads)
	return time.Unix(0, c.value).UTC()
}

// advance moves to a later moment. A follower takes over what the leader says; a
// leader's own entries come back to it a moment after it has stamped them.
func (c *clusterTime) advance(at time.Duration, last int64, leads bool) {
	passed := int64(max(at-c.at, 0))
	next := c.value + passed
	if last != c.seen {
		c.seen = last
		if last > next || !leads {
			next = last
		}
	}
	if agreed := c.agreed + int64(at); leads && c.agreed != 0 {
		next = max(agreed, min(next, max(last, c.value+passed-passed/slower)))
	}
	c.value, c.at = next, max(at, c.at)
}

// run compares the clocks as long as this node leads, and makes an entry if the
// newest is not of now.
func (c *clusterTime) run(ctx context.Context, lead Leader) error {
	tick := time.NewTicker(c.tune.Clocks)
	defer tick.Stop()
	for {
		c.compare(ctx, true)
		if c.Now().Sub(c.store.Meta().Time) > stampEvery {
			if _, err := lead.Apply(ctx, &commandpb.Command{Kind: &commandpb.Command_Noop{Noop: &commandpb.Noop{}}}); err != nil {
				c.logger.Debug("could not tell the others the time", "error", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.forget()
			return nil
		}
	}
}

// begin makes sure that a new leader does not stamp entries with a time of long
// ago. One that has followed knows the time and need not wait for the others.
func (c *clusterTime) begin(ctx context.Context) {
	c.forget()
	if !c.settled() && !c.compare(ctx, false) {
		c.agree(c.own())
	}
}

// own returns what this node's clock said when the stopwatch began.
func (c *clusterTime) own() int64 { return unixNano(c.Clock()) - int64(time.Since(c.started)) }

func (c *clusterTime) forget() { c.agree(0) }

func (c *clusterTime) agree(agreed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.agreed = agreed
}

// reading is what a node's clock said when the stopwatch began.
type reading struct {
	id string
	at int64
}

// compare asks the voters for their clocks, all of them or until a majority has
// answered, and agrees on the one in the middle, of two on the earlier. It
// reports whether a majority has answered.
func (c *clusterTime) compare(ctx context.Context, all bool) bool {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(ctx, c.tune.Confirm)
	defer cancel()
	future := c.raft.GetConfiguration()
	if future.Error() != nil {
		return false
	}
	readings := []reading{{c.NodeID(), c.own()}}
	servers := future.Configuration().Servers
	answers := make(chan reading, len(servers))
	voters, asked := 1, 0
	for _, s := range servers {
		if id := string(s.ID); s.Suffrage == raft.Voter && id != c.NodeID() {
			voters++
			asked++
			asking.Go(func() { answers <- reading{id, c.ask(ctx, id)} })
		}
	}
	for ; asked > 0 && (all || len(readings) < majority(voters)); asked-- {
		if r := <-answers; r.at != 0 {
			readings = append(readings, r)
		}
	}
	if len(readings) < majority(voters) {
		return false
	}
	agreed := middle(readings)
	c.agree(agreed)
	c.tell(readings, agreed)
	return true
}

// middle returns the reading in the middle; of two, the earlier: a time that is
// behind can be mended at once, one that is ahead only by waiting.
func middle(readings []reading) int64 {
	sorted := slices.SortedFunc(slices.Values(readings), func(a, b reading) int { return cmp.Compare(a.at, b.at) })
	return sorted[(len(sorted)-1)/2].at
}

// ask returns what the node's clock said when the stopwatch began; 0 if it does
// not tell.
func (c *clusterTime) ask(ctx context.Context, id string) int64 {
	conn, err := c.peers.conn(id)
	if err != nil {
		return 0
	}
	sent := time.Since(c.started)
	resp, err := nodepb.NewNodeServiceClient(conn).Confirm(ctx, &nodepb.ConfirmRequest{})
	if err != nil || resp.GetTime() == 0 {
		return 0
	}
	return resp.GetTime() - int64(sent+(time.Since(c.started)-sent)/2)
}

// tell says once which node's clock is off.
func (c *clusterTime) tell(readings []reading, agreed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range readings {
		by := time.Duration(r.at - agreed)
		if wrong := by.Abs() > clockOff; wrong != c.off[r.id] {
			c.off[r.id] = wrong
			if wrong {
				c.logger.Warn("a node's clock is off: nothing goes by it, but it should be set", "node", r.id, "by", by.Round(time.Second))
			}
		}
	}
}
