package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/cluster/datadir"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/internal/ids"
	"waypoint/state"
)

// announcement tells the cluster that this process is now the node, and keeps
// what it learns about the others for the next start.
type announcement struct {
	*node
	writes     *writes
	peers      *peers
	reads      *reads
	time       *clusterTime
	remembered *datadir.Addresses // of the last run; not changed
	gossipKey  []byte
	ready      chan struct{} // closed when the cluster knows
}

// Ready returns a channel that is closed when this node has been taken into the
// cluster and the cluster knows of this start. Without a quorum that takes until
// there is one; a node can serve what it has before.
func (a *announcement) Ready() <-chan struct{} { return a.ready }

// run tells the cluster, however long that takes, until ctx ends. It fails if
// the cluster says that this node is not a member.
func (a *announcement) run(ctx context.Context) error {
	pause := backoff.New(100*time.Millisecond, 5*time.Second)
	for {
		err := a.tell(ctx)
		switch errs.KindOf(err) {
		case 0:
			close(a.ready)
			return nil
		case errs.Unauthenticated, errs.NotFound:
			return fmt.Errorf("%w: %w", errRemoved, err)
		}
		a.logger.Warn("the cluster does not know of this start yet", "error", err)
		if pause.Wait(ctx) != nil {
			return nil
		}
	}
}

func (a *announcement) tell(ctx context.Context) error {
	if a.reads.Fresh(ctx) == nil {
		a.time.settle()
	}
	self := a.self()
	self.BootedAt = timestamppb.New(a.time.Now())
	id := ids.At(a.time.Now())
	if _, err := a.writes.Apply(ctx, &commandpb.Command{
		RequestId: id + "/0", TokenId: nodeToken(a.NodeID()),
		Kind: &commandpb.Command_NodeUpsert{NodeUpsert: &commandpb.NodeUpsert{Node: self}},
	}); err != nil {
		return err
	}
	_, err := a.writes.Apply(ctx, &commandpb.Command{
		RequestId: id + "/1", TokenId: nodeToken(a.NodeID()),
		Kind: &commandpb.Command_NodeLost{NodeLost: &commandpb.NodeLost{
			NodeId: a.NodeID(), BootId: a.bootID, OtherBoots: true,
		}},
	})
	return err
}

// self returns this node's row as it should be, keeping what it does not decide.
func (n *node) self() *clusterpb.Node {
	row := proto.CloneOf(n.store.Read().Node(n.NodeID()))
	if row == nil {
		row = &clusterpb.Node{Id: n.NodeID()}
	}
	row.Name, row.Addr, row.GossipAddr = n.cfg.Name, n.addr, n.gossip.Addr()
	row.Build, row.BootId = n.cfg.Build, n.bootID
	return row
}

// remember saves where the members are whenever that changes, until ctx ends.
// After a restart of all nodes nobody leads and the state is not replayed, so
// this is how they find each other.
func (a *announcement) remember(ctx context.Context) error {
	var saved *datadir.Addresses
	for {
		ws := state.NewWatchSet()
		now := a.addresses(a.store.Read().Watch(ws).Nodes())
		if !sameAddresses(saved, now) {
			if err := a.dir.SaveAddresses(now); err != nil {
				return errs.New(errs.Internal, "save the members' addresses: %w", err)
			}
			saved = now
			a.stir()
		}
		if ws.Wait(ctx) != nil {
			return nil
		}
	}
}

func (a *announcement) addresses(nodes []*clusterpb.Node) *datadir.Addresses {
	out := &datadir.Addresses{
		Configured: a.cfg.configured(), Seeds: a.remembered.Seeds,
		Self: datadir.Peer{ID: a.NodeID(), Addr: a.addr, GossipAddr: a.gossip.Addr()},
	}
	for _, n := range nodes {
		if n.GetId() != a.NodeID() {
			out.Peers = append(out.Peers, datadir.Peer{ID: n.GetId(), Addr: n.GetAddr(), GossipAddr: n.GetGossipAddr()})
		}
	}
	if len(nodes) == 0 {
		// The state has not come back yet.
		out.Peers = a.remembered.Peers
	}
	return out
}

func sameAddresses(a, b *datadir.Addresses) bool {
	return a != nil && b != nil && slices.Equal(a.Peers, b.Peers)
}
