package cluster

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc/credentials"

	"waypoint/cluster/datadir"
	"waypoint/cluster/gossip"
	"waypoint/cluster/pki"
	"waypoint/cluster/raftnet"
	"waypoint/cluster/raftstore"
	"waypoint/internal/clock"
	"waypoint/internal/seal"
	"waypoint/state"
)

// node is what all parts of a cluster member share. None of it but the newest
// token key changes after Open.
type node struct {
	cfg      Config
	tune     Tuning
	logger   hclog.Logger
	dir      *datadir.Dir
	identity *pki.Identity
	keyring  *seal.Keyring
	bootID   string
	addr     string // advertised, of the API and Raft
	store    *state.Store
	listener *pki.Listener
	gossip   *gossip.Gossip
	stores   *raftstore.Stores
	trans    *raftnet.Transport
	raft     *raft.Raft
	stirred  chan struct{} // gossip or the state changed; one slot
	dead     *verdict
	tokenKey opened
}

// NodeID returns this node's id.
func (n *node) NodeID() string { return n.identity.NodeID }

// BootID returns the id of this run of the node.
func (n *node) BootID() string { return n.bootID }

// Name returns this node's name, for people.
func (n *node) Name() string { return n.cfg.Name }

// ClusterID returns the cluster's id.
func (n *node) ClusterID() string { return n.identity.ClusterID }

// CAFingerprint returns "sha256:" and the hex SHA-256 of the cluster's CA.
func (n *node) CAFingerprint() string { return pki.Fingerprint(n.identity.CADER) }

// Addr returns the advertised address of the API and Raft.
func (n *node) Addr() string { return n.addr }

// Keyring returns the root keyring, which opens what is sealed in the state.
func (n *node) Keyring() *seal.Keyring { return n.keyring }

// TokenKey returns the key that signs tokens. It is Unavailable on a node that
// has not received the cluster's state yet.
func (n *node) TokenKey() ([]byte, error) {
	return n.tokenKey.open(n.store, n.keyring, secretTokenKey)
}

// GRPCListener returns the connections of the shared port that speak HTTP/2.
func (n *node) GRPCListener() net.Listener { return n.listener.GRPC() }

// GRPCCredentials returns what a gRPC server on GRPCListener needs.
func (n *node) GRPCCredentials() credentials.TransportCredentials { return pki.ServerCredentials() }

// PeerIdentity returns the id of the node at the other end of a connection: it
// showed a certificate of the cluster's CA and is listed in the membership.
func (n *node) PeerIdentity(conn tls.ConnectionState) (nodeID string, ok bool) {
	id, ok := n.identity.Peer(conn)
	if !ok || n.store.Read().Node(id) == nil {
		return "", false
	}
	return id, true
}

// admitRaft decides about a connection of a Raft peer. While this node follows
// nobody, its membership list may be older than the peer, and the certificate
// must do: a node that was away while all others were replaced could never catch
// up otherwise.
func (n *node) admitRaft(conn tls.ConnectionState) bool {
	id, ok := n.identity.Peer(conn)
	if !ok {
		return false
	}
	if n.store.Read().Node(id) != nil {
		return true
	}
	_, leader := n.raft.LeaderWithID()
	return leader == "" || string(leader) == id
}

// Clock returns the time by this node's own clock. Next to nothing goes by it:
// see Now.
func (n *node) Clock() time.Time {
	if n.cfg.clock != nil {
		return n.cfg.clock()
	}
	return clock.Now()
}

// stir wakes those who look after the membership.
func (n *node) stir() {
	select {
	case n.stirred <- struct{}{}:
	default:
	}
}
