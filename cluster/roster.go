package cluster

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"waypoint/api/clusterpb"
	"waypoint/cluster/gossip"
	"waypoint/errs"
)

// roster says who is in the cluster.
type roster struct {
	*node
	leads func() bool
}

// Members lists the cluster's nodes as this node sees them, by name.
func (r *roster) Members() []*clusterpb.Member {
	suffrage := r.suffrages()
	_, leader := r.raft.LeaderWithID()
	var out []*clusterpb.Member
	for _, n := range r.store.Read().Nodes() {
		m := &clusterpb.Member{
			Node: n, Gossip: string(r.gossip.State(n.GetId())), Suffrage: suffrage[n.GetId()],
			Leader: string(leader) == n.GetId(), Self: n.GetId() == r.NodeID(),
		}
		if m.Suffrage == "" {
			m.Suffrage = "none"
		}
		out = append(out, m)
	}
	return out
}

func (r *roster) suffrages() map[string]string {
	out := make(map[string]string)
	for _, s := range r.servers() {
		out[string(s.ID)] = suffrageText(s.Suffrage)
	}
	return out
}

// servers returns the newest configuration of Raft that this node knows of.
func (r *roster) servers() []raft.Server {
	future := r.raft.GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	return future.Configuration().Servers
}

func suffrageText(s raft.ServerSuffrage) string {
	if s == raft.Voter {
		return "voter"
	}
	return "nonvoter"
}

// RaftPeers lists Raft's configuration as this node sees it.
func (r *roster) RaftPeers() (*clusterpb.RaftPeersResponse, error) {
	future := r.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, errs.New(errs.Unavailable, "read Raft's configuration: %w", err)
	}
	tx := r.store.Read()
	_, leader := r.raft.LeaderWithID()
	out := &clusterpb.RaftPeersResponse{
		Index: future.Index(), Term: r.raft.CurrentTerm(),
		CommitIndex: r.raft.CommitIndex(), AppliedIndex: tx.Meta().Index,
	}
	for _, s := range future.Configuration().Servers {
		n := tx.Node(string(s.ID))
		p := &clusterpb.Peer{
			Id: string(s.ID), Name: n.GetName(), Addr: n.GetAddr(),
			Suffrage: suffrageText(s.Suffrage), Leader: s.ID == leader,
		}
		if c, ok := r.trans.Contact(s.ID); ok && r.leads() {
			p.LastContactMs = uint64(max(time.Since(c.At).Milliseconds(), 1))
		}
		out.Peers = append(out.Peers, p)
	}
	return out, nil
}

// Servers returns the advertised addresses of the members that gossip holds
// alive, this node's included.
func (r *roster) Servers() []string {
	out := []string{r.addr}
	for _, n := range r.store.Read().Nodes() {
		addr := n.GetAddr()
		if heard := r.gossip.Node(n.GetId()).GetAddr(); heard != "" {
			addr = heard
		}
		if n.GetId() != r.NodeID() && addr != "" && r.gossip.State(n.GetId()) == gossip.Alive {
			out = append(out, addr)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// noLeader says why nothing that needs the leader is possible.
func (r *roster) noLeader() error {
	voters, alive := 0, 0
	for _, s := range r.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if id := string(s.ID); id == r.NodeID() || r.gossip.State(id) == gossip.Alive {
			alive++
		}
	}
	if voters == 0 {
		return errs.New(errs.Unavailable, "this node has not been taken into the cluster yet; try another node or try again")
	}
	if need := voters/2 + 1; alive >= need {
		return errs.New(errs.Unavailable,
			"no leader at the moment, though %d of %d nodes answer: try again, or use -stale to read what this node has", alive, voters)
	}
	return errs.New(errs.Unavailable,
		"no leader: %d of %d nodes answer, %d are needed; use -stale to read what this node has", alive, voters, voters/2+1)
}
