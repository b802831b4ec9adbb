// Package gossip is how nodes find each other and notice that one is gone. It
// must not decide anything: who is a member is Raft's business, and what gossip
// says can be wrong.
package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"waypoint/api/clusterpb"
)

// State is what gossip holds a node for.
type State string

// The states. A node that gossip has not heard of is Unknown.
const (
	Alive   State = "alive"
	Dead    State = "dead"
	Left    State = "left"
	Unknown State = "unknown"
)

// The first byte of a node's metadata; a clusterpb.Node follows.
const (
	staying = 0
	leaving = 1
)

const (
	// leaveLimit bounds how long a leaving node waits for its goodbye to go out.
	leaveLimit = 2 * time.Second
	// reclaim lets a node come back with another address after this time.
	reclaim = time.Second
	// streamLimit bounds one exchange with a node that does not answer.
	streamLimit = 3 * time.Second
	// rejoin is how often a node looks for members it has lost.
	rejoin = 5 * time.Second
)

// Config says how a node takes part.
type Config struct {
	NodeID    string
	Bind      string // host:port; port 0: any
	Advertise string // host:port; "": the bound one
	Key       []byte // 32 bytes
	Profile   string // "lan", "wan" or "local"
	Logger    hclog.Logger
	// Changed is called without arguments when a node came, went or changed. It
	// must not block.
	Changed func()
}

// Gossip is this node's part in the gossip.
type Gossip struct {
	id      string
	addr    string
	list    *memberlist.Memberlist
	logger  hclog.Logger
	changed func()

	mu     sync.Mutex
	meta   []byte
	nodes  map[string]entry
	claims map[string]*clusterpb.Node // see Claim
	byes   map[string]bool            // who has said goodbye and has not joined again

	ending  sync.Mutex // held while leaving or stopping
	stopped bool
}

type entry struct {
	node  *clusterpb.Node
	state State
}

// Start begins to listen and to answer. The node joins nobody before Run.
func Start(cfg Config) (*Gossip, error) {
	g := &Gossip{id: cfg.NodeID, logger: cfg.Logger, changed: cfg.Changed, meta: []byte{staying},
		nodes: make(map[string]entry), claims: make(map[string]*clusterpb.Node), byes: make(map[string]bool)}
	conf, err := settings(cfg)
	if err != nil {
		return nil, err
	}
	conf.Delegate, conf.Events, conf.Conflict = delegate{g}, events{g}, events{g}
	network, err := newDoor(conf)
	if err != nil {
		return nil, fmt.Errorf("listen for gossip on %s: %w", cfg.Bind, err)
	}
	if conf.BindPort == 0 {
		conf.BindPort = network.GetAutoBindPort()
		conf.AdvertisePort = conf.BindPort
	}
	conf.Transport = network
	list, err := memberlist.Create(conf)
	if err != nil {
		return nil, fmt.Errorf("listen for gossip on %s: %w", cfg.Bind, errors.Join(err, network.Shutdown()))
	}
	g.list, g.addr = list, hostPort(list.LocalNode())
	return g, nil
}

func settings(cfg Config) (*memberlist.Config, error) {
	conf := memberlist.DefaultLANConfig()
	switch cfg.Profile {
	case "wan":
		conf = memberlist.DefaultWANConfig()
	case "local":
		conf = memberlist.DefaultLocalConfig()
		conf.ProbeInterval, conf.PushPullInterval = 500*time.Millisecond, 2*time.Second
		conf.GossipInterval, conf.SuspicionMult = 50*time.Millisecond, 4
	}
	var err error
	if conf.BindAddr, conf.BindPort, err = split(cfg.Bind); err != nil {
		return nil, fmt.Errorf("gossip address: %w", err)
	}
	conf.AdvertisePort = conf.BindPort
	if cfg.Advertise != "" {
		if conf.AdvertiseAddr, conf.AdvertisePort, err = resolved(cfg.Advertise); err != nil {
			return nil, fmt.Errorf("advertised gossip address: %w", err)
		}
	}
	conf.Name = cfg.NodeID
	conf.TCPTimeout = streamLimit
	conf.EnableCompression = false // what is sent is small, and to pack it costs 100 KiB each time
	conf.SecretKey = cfg.Key
	conf.DeadNodeReclaimTime = reclaim
	conf.Logger = log.New(&noise{
		out: cfg.Logger.StandardWriter(&hclog.StandardLoggerOptions{InferLevels: true}), now: time.Now,
	}, "", 0)
	return conf, nil
}

func split(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, fmt.Errorf("port of %q: %w", addr, err)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port, nil
}

// resolved is split with the host's name looked up: memberlist advertises
// numbers only.
func resolved(addr string) (host string, port int, err error) {
	if host, port, err = split(addr); err != nil {
		return "", 0, err
	}
	ip, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return "", 0, err
	}
	return ip.String(), port, nil
}

// Addr returns the address that is advertised.
func (g *Gossip) Addr() string { return g.addr }

func hostPort(n *memberlist.Node) string {
	return net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))
}

// Announce tells the others about this node: id and gossip address need not be
// set. All of it must fit into 512 bytes. It waits a moment for the news to be
// sent; if that takes longer, as while the others are starting too, they hear it
// later.
func (g *Gossip) Announce(node *clusterpb.Node) error {
	meta, err := proto.MarshalOptions{}.MarshalAppend([]byte{staying}, node)
	if err != nil {
		return fmt.Errorf("encode gossip metadata: %w", err)
	}
	if len(meta) > memberlist.MetaMaxSize {
		return fmt.Errorf("gossip metadata: %d bytes are more than %d; shorten the node's name or addresses", len(meta), memberlist.MetaMaxSize)
	}
	g.mu.Lock()
	g.meta = meta
	g.mu.Unlock()
	if err := g.list.UpdateNode(time.Second); err != nil {
		g.logger.Debug("the announcement of this node is still on its way", "cause", err)
	}
	return nil
}

// Run keeps this node together with the others, until ctx ends: at first every
// address that known names is tried, for each of the others may hold this node
// for alive elsewhere; after that, those that are not of a live node. Known
// returns gossip addresses by node id.
func (g *Gossip) Run(ctx context.Context, known func() map[string]string) error {
	tick := time.NewTicker(rejoin)
	defer tick.Stop()
	for all := true; ; all = false {
		g.join(ctx, known(), all)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (g *Gossip) join(ctx context.Context, known map[string]string, all bool) {
	for id, addr := range known {
		if ctx.Err() != nil {
			return
		}
		if id == g.id || addr == "" || !all && g.State(id) == Alive {
			continue
		}
		if _, err := g.list.Join([]string{addr}); err != nil {
			g.logger.Debug("cannot reach node by gossip", "node", id, "addr", addr, "error", err)
		}
	}
}

// Node returns what a node has announced, with its gossip address; nil if
// nothing is known. It must not be changed.
func (g *Gossip) Node(id string) *clusterpb.Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nodes[id].node
}

// Claim returns what somebody has announced who calls itself the node but is
// elsewhere than where gossip believes the node to be alive; nil if nobody does.
// A node that was killed and came back at another address is there, long before
// the others have missed its former process.
func (g *Gossip) Claim(id string) *clusterpb.Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.claims[id]
}

// State returns what a node is held for.
func (g *Gossip) State(id string) State {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e, ok := g.nodes[id]; ok {
		return e.state
	}
	return Unknown
}

// Leave says goodbye, so that the others need not find out, and stops. The
// library's goodbye alone would not do: it does not tell the others' programs
// that it was one, and its datagrams may be lost when the sockets close behind
// it. After Stop it does nothing.
func (g *Gossip) Leave() error {
	g.ending.Lock()
	defer g.ending.Unlock()
	if g.stopped {
		return nil
	}
	g.mu.Lock()
	g.meta = append([]byte{leaving}, g.meta[1:]...)
	g.mu.Unlock()
	told := g.tellAll([]byte(g.id))
	err := errors.Join(g.list.UpdateNode(leaveLimit), g.list.Leave(leaveLimit))
	told.Wait()
	return errors.Join(err, g.stop())
}

// tellAll sends a message to every node that is held for alive, over a stream.
// A node that cannot be reached finds out by itself.
func (g *Gossip) tellAll(message []byte) *sync.WaitGroup {
	var sending sync.WaitGroup
	for _, n := range g.others() {
		sending.Go(func() {
			if err := g.list.SendReliable(n, message); err != nil {
				g.logger.Debug("cannot say goodbye", "node", n.Name, "cause", err)
			}
		})
	}
	return &sending
}

// others are the nodes that are held for alive. The library has a list of them
// too, but changes what is on it while it is read.
func (g *Gossip) others() []*memberlist.Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*memberlist.Node
	for id, e := range g.nodes {
		host, port, err := split(e.node.GetGossipAddr())
		if id != g.id && e.state == Alive && err == nil {
			all = append(all, &memberlist.Node{Name: id, Addr: net.ParseIP(host), Port: uint16(port)})
		}
	}
	return all
}

// Stop stops without a goodbye.
func (g *Gossip) Stop() error {
	g.ending.Lock()
	defer g.ending.Unlock()
	return g.stop()
}

func (g *Gossip) stop() error {
	g.stopped = true
	return g.list.Shutdown()
}

func (g *Gossip) set(n *memberlist.Node, state State) {
	if len(n.Meta) > 0 && n.Meta[0] == leaving {
		state = Left
	}
	node := g.read(n)
	g.mu.Lock()
	if state == Dead && g.byes[n.Name] {
		state = Left
	}
	g.nodes[n.Name] = entry{node, state}
	if state == Alive {
		delete(g.byes, n.Name)
		delete(g.claims, n.Name)
	}
	g.mu.Unlock()
	g.changed()
}

// read returns what a node has announced.
func (g *Gossip) read(n *memberlist.Node) *clusterpb.Node {
	node := &clusterpb.Node{}
	if len(n.Meta) > 0 {
		if err := proto.Unmarshal(n.Meta[1:], node); err != nil {
			g.logger.Warn("cannot read a node's gossip metadata", "node", n.Name, "error", err)
		}
	}
	node.Id = n.Name
	node.GossipAddr = hostPort(n)
	return node
}

// events implements memberlist.EventDelegate and memberlist.ConflictDelegate.
type events struct{ g *Gossip }

func (e events) NotifyJoin(n *memberlist.Node)   { e.g.set(n, Alive) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.g.set(n, Alive) }
func (e events) NotifyLeave(n *memberlist.Node)  { e.g.set(n, Dead) }

// NotifyConflict keeps what another address says of a node.
func (e events) NotifyConflict(_, other *memberlist.Node) {
	if other.Name == e.g.id {
		return // what others believe of this node
	}
	node := e.g.read(other)
	e.g.mu.Lock()
	e.g.claims[other.Name] = node
	e.g.mu.Unlock()
	e.g.changed()
}

// delegate implements memberlist.Delegate: metadata and goodbyes.
type delegate struct{ g *Gossip }

func (d delegate) NodeMeta(int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	return d.g.meta
}

// NotifyMsg takes a goodbye, which is the id of the node that leaves.
func (d delegate) NotifyMsg(message []byte) {
	id := string(message)
	d.g.mu.Lock()
	e, known := d.g.nodes[id]
	if known {
		d.g.byes[id] = true
		d.g.nodes[id] = entry{e.node, Left}
	}
	d.g.mu.Unlock()
	if known {
		d.g.changed()
	}
}

func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}
