package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"waypoint/cluster/datadir"
	"waypoint/cluster/gossip"
	"waypoint/cluster/pki"
)

// tryLimit bounds the try of one address where there are several.
const tryLimit = 2 * time.Second

// lookup finds out where nodes are.
type lookup struct {
	*node
	remembered *datadir.Addresses // of the last run; not changed
}

// addrs returns the addresses where a node may be, the likeliest first.
func (l *lookup) addrs(nodeID string) []string {
	var out []string
	add := func(addr string) {
		for _, have := range out {
			if have == addr {
				return
			}
		}
		if addr != "" {
			out = append(out, addr)
		}
	}
	// Whoever answers anywhere must prove to be that node, so a guess does no harm.
	add(l.gossip.Claim(nodeID).GetAddr())
	heard, listed := l.gossip.Node(nodeID).GetAddr(), l.store.Read().Node(nodeID).GetAddr()
	if l.gossip.State(nodeID) == gossip.Alive {
		add(heard)
	}
	add(listed)
	add(heard)
	for _, p := range l.remembered.Peers {
		if p.ID == nodeID {
			add(p.Addr)
		}
	}
	if listed == "" {
		for _, addr := range l.remembered.Seeds {
			add(addr)
		}
	}
	return out
}

// known tells whether there is such a node, as far as this one has heard.
func (l *lookup) known(nodeID string) bool {
	nodes := l.store.Read().Nodes()
	for _, n := range nodes {
		if n.GetId() == nodeID {
			return true
		}
	}
	if len(nodes) == 0 { // the state has not come back yet
		for _, p := range l.remembered.Peers {
			if p.ID == nodeID {
				return true
			}
		}
	}
	return l.gossip.Node(nodeID) != nil
}

// gossipAddrs returns where the members' gossip may be, by node id.
func (l *lookup) gossipAddrs() map[string]string {
	out := make(map[string]string)
	for _, p := range l.remembered.Peers {
		out[p.ID] = p.GossipAddr
	}
	for _, n := range l.store.Read().Nodes() {
		if n.GetGossipAddr() != "" {
			out[n.GetId()] = n.GetGossipAddr()
		}
	}
	return out
}

// dialTCP connects to wherever the node is, without a check of who answers.
func (l *lookup) dialTCP(nodeID string) (net.Conn, error) {
	return l.each(nodeID, dialLimit, l.cfg.dial)
}

// dialRaft connects to the node of that id as a Raft peer.
func (l *lookup) dialRaft(nodeID string, timeout time.Duration) (net.Conn, error) {
	config := l.identity.Client(nodeID, pki.ALPNRaft)
	return l.each(nodeID, timeout, func(addr string, limit time.Duration) (net.Conn, error) {
		conn, err := l.cfg.dial(addr, limit)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(conn, config)
		if err := errors.Join(conn.SetDeadline(time.Now().Add(limit)), secure.Handshake(), conn.SetDeadline(time.Time{})); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return secure, nil
	})
}

// each tries a node's addresses in turn.
func (l *lookup) each(nodeID string, limit time.Duration, dial func(addr string, limit time.Duration) (net.Conn, error)) (net.Conn, error) {
	addrs := l.addrs(nodeID)
	if len(addrs) == 0 {
		return nil, fmt.Errorf("dial node %s: its address is not known", nodeID)
	}
	var failed []error
	for i, addr := range addrs {
		share := limit
		if i < len(addrs)-1 {
			share = min(limit, tryLimit)
		}
		conn, err := dial(addr, share)
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err)
	}
	return nil, fmt.Errorf("dial node %s: %w", nodeID, errors.Join(failed...))
}
