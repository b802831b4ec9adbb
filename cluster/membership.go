package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/api/versionpb"
	"waypoint/cluster/gossip"
	"waypoint/protocol"
)

const (
	// caughtUp is how many log entries a new node may lag behind and still become
	// a voter: what a busy leader writes between two heartbeats.
	caughtUp = 1024
	// changeLimit bounds how long Raft may take to begin a change of its
	// configuration.
	changeLimit = 5 * time.Second
)

// membership is the leader task that brings Raft's configuration in line with
// the list of members. Gossip tells it whom to look at; a listed certificate and
// contact with Raft decide.
type membership struct {
	*node
	roster  *roster
	removal *removal
}

// watch is what one tenure remembers.
type watch struct {
	*membership
	lead    Leader
	healthy map[string]time.Time // non-voters, since when
	gone    map[string]time.Time // members, since when
}

// run looks after the membership while this node leads.
func (m *membership) run(ctx context.Context, lead Leader) error {
	w := &watch{
		membership: m, lead: lead,
		healthy: make(map[string]time.Time), gone: make(map[string]time.Time),
	}
	tick := time.NewTicker(m.tune.Tick)
	defer tick.Stop()
	for {
		if err := w.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			// A change of the membership may fail for a while, such as without a
			// quorum; whoever leads then looks again.
			m.logger.Warn("looking after the membership failed", "error", err)
		}
		select {
		case <-tick.C:
		case <-m.stirred:
		case ask := <-m.removal.asked:
			w.discharge(ctx, ask)
		case <-ctx.Done():
			return nil
		}
	}
}

// look makes at most one change of Raft's configuration.
func (w *watch) look(ctx context.Context, now time.Time) error {
	tx := w.store.Read()
	listed := make(map[string]*clusterpb.Node)
	for _, n := range tx.Nodes() {
		listed[n.GetId()] = n
	}
	servers := make(map[string]raft.Server)
	for _, s := range w.roster.servers() {
		servers[string(s.ID)] = s
	}
	w.note(listed, servers, now)
	if err := w.markLost(ctx, listed, now); err != nil {
		return err
	}
	if err := w.raiseVersion(ctx, servers, tx.Meta().NodeVersion); err != nil {
		return err
	}
	if changed, err := w.promote(listed, servers, now); changed || err != nil {
		return err
	}
	if changed, err := w.add(listed, servers, tx.Meta().NodeVersion); changed || err != nil {
		return err
	}
	return w.remove(ctx, listed, servers, now)
}

// note keeps since when each node has been well or gone.
func (w *watch) note(listed map[string]*clusterpb.Node, servers map[string]raft.Server, now time.Time) {
	for id := range listed {
		since(w.gone, id, w.away(id, now), now)
	}
	for id, s := range servers {
		since(w.healthy, id, s.Suffrage == raft.Nonvoter && w.well(id, now), now)
	}
}

func since(times map[string]time.Time, id string, holds bool, now time.Time) {
	if _, ok := times[id]; !holds {
		delete(times, id)
	} else if !ok {
		times[id] = now
	}
}

// recent is how fresh contact with Raft must be to count.
func (n *node) recent() time.Duration { return 4 * n.tune.Heartbeat }

func (n *node) inContact(id string, now time.Time) bool {
	c, ok := n.trans.Contact(raft.ServerID(id))
	return ok && now.Sub(c.At) < n.recent()
}

// away tells whether both gossip and Raft miss a node.
func (w *watch) away(id string, now time.Time) bool {
	return id != w.NodeID() && w.gossip.State(id) != gossip.Alive && !w.inContact(id, now)
}

// well tells whether a node could vote.
func (w *watch) well(id string, now time.Time) bool {
	c, _ := w.trans.Contact(raft.ServerID(id))
	return w.inContact(id, now) && w.gossip.State(id) == gossip.Alive && c.LastLog+caughtUp >= w.raft.LastIndex()
}

// build returns what a node that is there runs.
func (w *watch) build(id string) *versionpb.Build {
	if id == w.NodeID() {
		return w.cfg.Build
	}
	if w.gossip.State(id) != gossip.Alive {
		return nil
	}
	return w.gossip.Node(id).GetBuild()
}

// add takes a listed node into Raft's configuration, as one that does not vote.
func (w *watch) add(listed map[string]*clusterpb.Node, servers map[string]raft.Server, active uint32) (bool, error) {
	for id := range listed {
		if _, ok := servers[id]; ok || w.gossip.State(id) != gossip.Alive {
			continue
		}
		must := &versionpb.Range{Min: active, Current: active}
		if _, err := protocol.Negotiate(protocol.Node, must, w.build(id).GetRanges().GetNode()); err != nil {
			w.logger.Warn("a node is too old or too new to be taken in", "node", id, "error", err)
			continue
		}
		w.logger.Info("taking in node", "node", id, "name", listed[id].GetName())
		return true, change("take in node "+id, w.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(id), 0, changeLimit))
	}
	return false, nil
}

// promote gives a node a vote that has been well for a while.
func (w *watch) promote(listed map[string]*clusterpb.Node, servers map[string]raft.Server, now time.Time) (bool, error) {
	for id, t := range w.healthy {
		if _, ok := servers[id]; !ok || listed[id] == nil || now.Sub(t) < w.tune.Promote {
			continue
		}
		w.logger.Info("giving node a vote", "node", id, "name", listed[id].GetName())
		return true, change("give node "+id+" a vote", w.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(id), 0, changeLimit))
	}
	return false, nil
}

func change(what string, future raft.IndexFuture) error {
	if err := future.Error(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// raiseVersion raises the active version of the node protocol once every server
// says that it can.
func (w *watch) raiseVersion(ctx context.Context, servers map[string]raft.Server, active uint32) error {
	can := uint32(0)
	for id := range servers {
		current := w.build(id).GetRanges().GetNode().GetCurrent()
		if can == 0 || current < can {
			can = current
		}
		if can <= active {
			return nil
		}
	}
	if can <= active {
		return nil
	}
	w.logger.Info("raising the active node protocol", "from", active, "to", can)
	_, err := w.lead.Apply(ctx, &commandpb.Command{Kind: &commandpb.Command_NodeVersionRaise{
		NodeVersionRaise: &commandpb.NodeVersionRaise{Version: can},
	}})
	if err != nil {
		return fmt.Errorf("raise node protocol to %d: %w", can, err)
	}
	return nil
}

// remove drops a server that is listed no more, and one that has been gone for
// very long, together with its row.
func (w *watch) remove(ctx context.Context, listed map[string]*clusterpb.Node, servers map[string]raft.Server, now time.Time) error {
	for id, s := range servers {
		if id == w.NodeID() || listed[id] != nil || !w.spare(s, servers, now) {
			continue
		}
		w.logger.Info("removing a server that is not a member", "node", id)
		return change("remove server "+id, w.raft.RemoveServer(s.ID, 0, changeLimit))
	}
	for id, t := range w.gone {
		s, configured := servers[id]
		if now.Sub(t) < w.tune.DeadAfter || configured && !w.spare(s, servers, now) {
			continue
		}
		w.logger.Warn("removing a node that has been gone for long", "node", id, "since", t)
		if configured {
			if err := change("remove server "+id, w.raft.RemoveServer(s.ID, 0, changeLimit)); err != nil {
				return err
			}
		}
		_, err := w.lead.Apply(ctx, &commandpb.Command{Kind: &commandpb.Command_NodeRemove{
			NodeRemove: &commandpb.NodeRemove{Id: id},
		}})
		if err != nil {
			return fmt.Errorf("remove node %s: %w", id, err)
		}
		delete(w.gone, id)
		return nil
	}
	return nil
}

// spare tells whether the others are a quorum without this server.
func (w *watch) spare(s raft.Server, servers map[string]raft.Server, now time.Time) bool {
	return spare(s, servers, func(id string) bool { return id == w.NodeID() || w.inContact(id, now) })
}

func spare(s raft.Server, servers map[string]raft.Server, there func(id string) bool) bool {
	if s.Suffrage != raft.Voter {
		return true
	}
	voters, present := others(s, servers, there)
	return present >= majority(voters)
}

// others counts the voters beside s, and how many of them are there.
func others(s raft.Server, servers map[string]raft.Server, there func(id string) bool) (voters, present int) {
	for id, other := range servers {
		if other.Suffrage != raft.Voter || other.ID == s.ID {
			continue
		}
		voters++
		if there(id) {
			present++
		}
	}
	return voters, present
}

func majority(voters int) int { return voters/2 + 1 }
