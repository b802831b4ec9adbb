// Package cluster makes several nodes one: Raft, gossip, certificates, joining
// and membership. It offers the rest of a node a few verbs: apply a command,
// read what is current, talk to a peer, work as long as this node leads. It must
// not know what commands mean, nor who calls it over the network: package rpc
// serves its methods to other nodes.
package cluster

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"waypoint/cluster/datadir"
	"waypoint/cluster/gossip"
	"waypoint/cluster/pki"
	"waypoint/cluster/raftnet"
	"waypoint/cluster/raftstore"
	"waypoint/errs"
	"waypoint/internal/ids"
)

const (
	// pooled connections to each Raft peer.
	pooled = 3
	// inFlight messages to each follower: two with entries, as the library has it,
	// and one that tells of a commit.
	inFlight = 3
	// notices is the room for Raft's notices of leadership before Run.
	notices = 16
)

// Cluster is this node's part in the cluster. Its methods are those of its
// parts, each of which owns one concern.
type Cluster struct {
	*node         // NodeID, Name, BootID, ClusterID, CAFingerprint, Addr, Keyring, TokenKey, GRPCListener, GRPCCredentials, PeerIdentity
	*following    // LeaderID
	*leadership   // WhileLeader
	*peers        // Peer
	*writes       // Apply, ApplyBatch
	*reads        // Fresh, WaitIndex, ReadIndex, ConfirmTerm
	*roster       // Members, RaftPeers, Servers
	*admission    // CreateJoinToken, AcceptJoin
	*announcement // Ready
	*removal      // RemoveNode, RemoveAsLeader
	time          *clusterTime
	standing      *standing
	open          closers
}

// Open opens an initialized data directory, takes up its addresses and starts
// Raft. If the directory holds no node, the error's kind is NotFound; if it is
// damaged, the error names the file. Nothing is served before Run; a Cluster
// that is not run must be closed.
func Open(cfg Config) (*Cluster, error) {
	n := &node{cfg: cfg, bootID: ids.New(), stirred: make(chan struct{}, 1)}
	l := &leadership{node: n, notify: make(chan bool, notices), woken: make(chan struct{}, 1), turned: make(chan struct{})}
	c := &Cluster{node: n, leadership: l}
	if err := c.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("open node: %w", err), c.open.close())
	}
	return c, nil
}

// start opens everything, in an order in which each part finds what it needs.
func (c *Cluster) start() error {
	if err := c.openDir(); err != nil {
		return err
	}
	if err := c.openNetwork(); err != nil {
		return err
	}
	look := &lookup{node: c.node, remembered: c.announcement.remembered}
	c.peers = &peers{lookup: look, conns: make(map[string]*grpc.ClientConn)}
	c.open.add("peer connections", func() error { c.peers.close(); return nil })
	if err := c.openRaft(look); err != nil {
		return err
	}
	c.assemble()
	return nil
}

// openDir reads the data directory and keeps it locked.
func (c *Cluster) openDir() error {
	if c.cfg.Store == nil || c.cfg.FSM == nil {
		return errs.New(errs.Invalid, "a store and a state machine are needed")
	}
	dir, err := datadir.Open(c.cfg.DataDir)
	if err != nil {
		return err
	}
	c.open.add("data directory", dir.Close)
	m, err := dir.Load()
	if err != nil {
		return err
	}
	last, err := dir.Addresses()
	if err != nil {
		return err
	}
	c.cfg.recall(last.Configured, m.Node.Name)
	if err := c.cfg.setDefaults(); err != nil {
		return err
	}
	if c.tune, err = c.cfg.tuning(); err != nil {
		return err
	}
	key, err := pki.ParseKey(m.Key)
	if err != nil {
		return dir.Damaged("node.key", err)
	}
	if c.identity, err = pki.NewIdentity(m.Node.ClusterID, m.Node.NodeID, m.Cert, m.CA, key); err != nil {
		return dir.Damaged("node.crt", err)
	}
	c.dir, c.keyring, c.store, c.logger = dir, m.Keyring, c.cfg.Store, c.cfg.Logger
	c.announcement = &announcement{node: c.node, remembered: last, gossipKey: m.GossipKey, ready: make(chan struct{})}
	c.dead = newVerdict(c.condemn)
	return nil
}

// Now returns the cluster's time: what a log entry would carry now, as far as this
// node knows. Requests, tokens and ages are judged by it.
func (c *Cluster) Now() time.Time { return c.time.Now() }

// condemn is called once, with the error that ends this process.
func (c *Cluster) condemn(err error) {
	c.logger.Error("this node cannot go on", "error", err)
	if c.trans != nil {
		c.trans.Mute()
	}
	if c.cfg.Fatal != nil {
		c.cfg.Fatal(err)
	}
}

// openNetwork takes up the node's addresses.
func (c *Cluster) openNetwork() (err error) {
	if c.listener, err = pki.Listen(c.cfg.ListenAddr, c.identity, c.admitRaft, c.logger.Named("listener")); err != nil {
		return err
	}
	c.open.add("listener", c.listener.Close)
	if c.addr, err = advertise(c.cfg.AdvertiseAddr, c.listener.Addr().String()); err != nil {
		return err
	}
	// Port 0 means "any" there, so the host is all that is worked out here.
	gossipAddr, err := advertise(c.cfg.GossipAdvertise, c.cfg.GossipAddr)
	if err != nil {
		return err
	}
	c.gossip, err = gossip.Start(gossip.Config{
		NodeID: c.NodeID(), Bind: c.cfg.GossipAddr, Advertise: gossipAddr, Key: c.announcement.gossipKey,
		Profile: c.tune.Gossip, Logger: c.logger.Named("gossip"), Changed: c.stir,
	})
	if err != nil {
		return err
	}
	c.open.add("gossip", c.gossip.Stop)
	self := c.self()
	self.Serial, self.JoinedAt, self.BootedAt = "", nil, nil
	return c.gossip.Announce(self)
}

// openRaft opens Raft's stores and starts it.
func (c *Cluster) openRaft(look *lookup) (err error) {
	guard := raftstore.NewGuard(c.tune.Disk, c.dead.pass)
	c.stores, err = raftstore.Open(c.dir.Raft(), raftstore.Options{Kind: c.cfg.LogStore, Guard: guard, Logger: c.logger.Named("raft")})
	if err != nil {
		return refusedLog(c.dir, err)
	}
	c.open.add("Raft log", c.stores.Close)
	stream := raftnet.NewStream(c.NodeID(), c.listener.Raft(), look.dialRaft)
	network := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: pooled, MaxRPCsInFlight: inFlight, Timeout: c.tune.IO, Logger: c.logger.Named("raft-net"),
	})
	c.trans = raftnet.NewTransport(network, c.quiet)
	c.open.add("Raft transport", c.trans.Close)
	conf := raftConfig(c.logger, c.tune, c.NodeID(), c.leadership.notify)
	c.raft, err = raft.NewRaft(conf, resting{c.cfg.FSM}, c.stores.Log, c.stores.Stable, c.stores.Snapshots, c.trans)
	if err != nil {
		return refusedLog(c.dir, err)
	}
	c.open.add("Raft", func() error { return c.raft.Shutdown().Error() })
	return nil
}

// quiet runs handle if a heartbeat of that term changes nothing here: this node
// already follows in that term, and stays in it while handle runs.
func (c *Cluster) quiet(term uint64, handle func()) bool {
	return c.stores.Stable.HoldTerm(term, func() bool {
		if c.raft.State() != raft.Follower || c.raft.CurrentTerm() != term {
			return false
		}
		handle()
		return true
	})
}

// assemble makes the parts that use what is open.
func (c *Cluster) assemble() {
	c.following = newFollowing(c.node)
	c.roster = &roster{node: c.node, leads: func() bool { return c.leadership.leading() != nil }}
	c.time = newClusterTime(c.node, c.peers, c.leadership.leading)
	c.leadership.time = c.time
	c.batches = newProposer(c.node, c.leadership.leading, c.time.Now)
	c.writes = &writes{
		node: c.node, following: c.following, taking: c.leadership.taking, noLeader: c.roster.noLeader,
		proposer: c.batches, forward: newForwarder(c.following, c.peers),
	}
	c.reads = newReads(c.node, c.following, c.peers, c.leadership, c.roster.noLeader)
	c.admission = &admission{node: c.node, writes: c.writes, roster: c.roster, fresh: c.reads.Fresh, time: c.time}
	c.announcement.writes, c.announcement.peers, c.announcement.reads, c.announcement.time = c.writes, c.peers, c.reads, c.time
	c.standing = &standing{node: c.node, following: c.following, peers: c.peers, roster: c.roster}
	c.removal = &removal{
		node: c.node, following: c.following, leadership: c.leadership, peers: c.peers, roster: c.roster, writes: c.writes,
		asked: make(chan *removalAsk),
	}
	members := &membership{node: c.node, roster: c.roster, removal: c.removal}
	c.WhileLeader("membership", members.run)
	c.WhileLeader("clocks", c.time.run)
}
