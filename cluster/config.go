package cluster

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"waypoint/api/versionpb"
	"waypoint/cluster/datadir"
	"waypoint/cluster/raftstore"
	"waypoint/errs"
	"waypoint/state"
)

// The addresses of a node that names none.
const (
	defaultListen = ":9701"
	defaultGossip = ":9703"
)

// Config says how a node takes part in a cluster. Addresses, name, profile and
// snapshots that are left empty are as at the node's last start.
type Config struct {
	DataDir         string
	Name            string // for people, unique in the cluster; default: the host's name
	ListenAddr      string // of the API and Raft; default ":9701"; port 0: any
	AdvertiseAddr   string // host:port that others dial; default: the bound one
	GossipAddr      string // default ":9703"; port 0: any
	GossipAdvertise string
	Profile         string // "lan" (default) or "wan"
	LogStore        string // of raftstore.Kinds; default: what the data directory has
	// SnapshotAfter is how many log entries make a snapshot worth taking, and
	// SnapshotEvery how often, at most, the node looks whether there are so many.
	SnapshotAfter uint64
	SnapshotEvery time.Duration
	Build         *versionpb.Build
	Logger        hclog.Logger

	// Store and FSM are the state and what applies commands to it. Bootstrap and
	// Join do without.
	Store *state.Store
	FSM   raft.FSM

	// BeforeLeave is called when the node leaves, after leadership has been
	// handed over and before anything stops: sessions move away in it. It should
	// end when its context does.
	BeforeLeave func(ctx context.Context)
	// Fatal hears of the error after which this process must not go on, such as a
	// failed fsync. Run then returns that error too, if it still can.
	Fatal func(error)
	// Tuning replaces the profile's timers if it is set.
	Tuning *Tuning

	// dial replaces the network in tests.
	dial func(addr string, limit time.Duration) (net.Conn, error)
	// clock replaces this node's clock in tests.
	clock func() time.Time
}

// Tuning holds the timers and bounds that a profile stands for.
type Tuning struct {
	Heartbeat time.Duration // followers wait that long for the leader
	Election  time.Duration
	Lease     time.Duration // a leader without a quorum steps down after it
	Commit    time.Duration // an idle leader tells followers the commit index
	IO        time.Duration // bounds one message between Raft peers
	Confirm   time.Duration // bounds one round of confirming leadership
	Disk      time.Duration // bounds one write of Raft's stores

	Tick      time.Duration // between looks of the leader at the membership
	Clocks    time.Duration // between comparisons of the voters' clocks
	Promote   time.Duration // a new node is healthy that long before it votes
	LostGrace time.Duration // what a dead node was home to is then marked lost
	DeadAfter time.Duration // a server that is gone that long is removed

	Leave         time.Duration // bounds stopping; more than IO, which Raft waits for a peer that is off
	BeforeLeave   time.Duration // bounds BeforeLeave
	Gossip        string        // profile of the gossip: "lan", "wan", "local"
	SnapshotAfter uint64        // log entries
	SnapshotEvery time.Duration // at least between two looks, at most twice that
	TrailingLogs  uint64        // log entries kept behind a snapshot
}

// LAN are the timers for nodes that are close to each other.
func LAN() Tuning {
	return Tuning{
		Heartbeat: 300 * time.Millisecond,
		Election:  300 * time.Millisecond,
		Lease:     250 * time.Millisecond,
		Commit:    20 * time.Millisecond,
		IO:        5 * time.Second,
		Confirm:   time.Second,
		Disk:      10 * time.Second,

		Tick:      500 * time.Millisecond,
		Clocks:    5 * time.Second,
		Promote:   2 * time.Second,
		LostGrace: 5 * time.Second,
		DeadAfter: 72 * time.Hour,

		Leave:         8 * time.Second,
		BeforeLeave:   15 * time.Second,
		Gossip:        "lan",
		SnapshotAfter: 16384,
		SnapshotEvery: 2 * time.Minute,
		TrailingLogs:  16384,
	}
}

// WAN are the timers for nodes in different places, and for slow machines.
func WAN() Tuning {
	t := LAN()
	t.Heartbeat, t.Election, t.Lease = time.Second, time.Second, 750*time.Millisecond
	t.Commit, t.IO, t.Confirm = 50*time.Millisecond, 10*time.Second, 3*time.Second
	t.Leave = 15 * time.Second
	t.Gossip = "wan"
	return t
}

func (c *Config) tuning() (Tuning, error) {
	if c.Tuning != nil {
		return *c.Tuning, nil
	}
	t, err := c.timers()
	t.SnapshotAfter = cmp.Or(c.SnapshotAfter, t.SnapshotAfter)
	t.SnapshotEvery = cmp.Or(c.SnapshotEvery, t.SnapshotEvery)
	return t, err
}

// timers returns those of the profile.
func (c *Config) timers() (Tuning, error) {
	switch c.Profile {
	case "", "lan":
		return LAN(), nil
	case "wan":
		return WAN(), nil
	}
	return Tuning{}, errs.New(errs.Invalid, "profile %q: it must be lan or wan", c.Profile)
}

// setDefaults fills in what a new node's configuration leaves out.
func (c *Config) setDefaults() error {
	if c.DataDir == "" {
		return errs.New(errs.Invalid, "a data directory is needed")
	}
	if c.Build.GetRanges().GetNode() == nil {
		return errs.New(errs.Invalid, "the build speaks no node protocol")
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.LogStore != "" && !slices.Contains(raftstore.Kinds(), c.LogStore) {
		return errs.New(errs.Invalid, "log store %q: it must be one of %q", c.LogStore, raftstore.Kinds())
	}
	if c.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("find a name for the node: %w", err)
		}
		c.Name = name
	}
	if c.dial == nil {
		c.dial = func(addr string, limit time.Duration) (net.Conn, error) {
			return net.DialTimeout("tcp", addr, limit)
		}
	}
	if len(c.Name) > maxName {
		return errs.New(errs.Invalid, "the node's name has %d bytes; at most %d", len(c.Name), maxName)
	}
	_, err := c.tuning()
	return err
}

// recall fills in what is left out from the last start.
func (c *Config) recall(last datadir.Configured, name string) {
	for _, s := range []struct {
		field    *string
		last, or string
	}{
		{&c.Name, name, ""},
		{&c.ListenAddr, last.Listen, defaultListen},
		{&c.AdvertiseAddr, last.Advertise, ""},
		{&c.GossipAddr, last.Gossip, defaultGossip},
		{&c.GossipAdvertise, last.GossipAdvertise, ""},
		{&c.Profile, last.Profile, ""},
	} {
		*s.field = cmp.Or(*s.field, s.last, s.or)
	}
	c.SnapshotAfter = cmp.Or(c.SnapshotAfter, last.SnapshotAfter)
	c.SnapshotEvery = cmp.Or(c.SnapshotEvery, last.SnapshotEvery)
}

func (c *Config) configured() datadir.Configured {
	return datadir.Configured{
		Listen: c.ListenAddr, Advertise: c.AdvertiseAddr,
		Gossip: c.GossipAddr, GossipAdvertise: c.GossipAdvertise, Profile: c.Profile,
		SnapshotAfter: c.SnapshotAfter, SnapshotEvery: c.SnapshotEvery,
	}
}

// advertise returns the address that others should dial to reach bound.
func advertise(configured, bound string) (string, error) {
	host, port, err := net.SplitHostPort(bound)
	if err != nil {
		return "", fmt.Errorf("read address: %w", err)
	}
	if configured != "" {
		chosen, given, err := net.SplitHostPort(configured)
		if err != nil {
			return "", errs.New(errs.Invalid, "advertised address %q: %w", configured, err)
		}
		if given == "0" {
			given = port
		}
		return net.JoinHostPort(chosen, given), nil
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = ownIP()
	}
	return net.JoinHostPort(host, port), nil
}

// ownIP returns an address of this host, IPv4 before IPv6, loopback only if
// there is no other.
func ownIP() string {
	best := "127.0.0.1"
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return best
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || !n.IP.IsGlobalUnicast() {
			continue
		}
		if n.IP.To4() != nil {
			return n.IP.String()
		}
		best = n.IP.String()
	}
	return best
}
