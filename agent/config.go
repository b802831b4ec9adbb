package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"waypoint/cluster"
	"waypoint/errs"
	"waypoint/rollout"
)

// The defaults of a node's first start. Later starts repeat what the data
// directory remembers.
const (
	DefaultAddr       = ":9701"
	DefaultGossipAddr = ":9703"
	DefaultProfile    = "lan"
)

// Config says how a node runs. Addresses are host:port; an empty host listens
// on every interface, port 0 lets the system choose. What is left empty is as
// at the node's last start, or the default at its first.
type Config struct {
	DataDir         string
	Name            string // for people; unique in the cluster; the host's name at first
	Addr            string // listens: API, node to node calls and Raft
	Advertise       string // what others dial, if it is not Addr
	GossipAddr      string // listens: gossip, tcp and udp
	GossipAdvertise string // what others dial, if it is not GossipAddr
	Profile         string // timers: "lan" or "wan"
	LogStore        string // what the Raft log is kept in, of LogStores
	SnapshotAfter   uint   // log entries after which a snapshot is taken; 16,384 at first
	// SnapshotEvery is how often the node looks whether there are so many: after that
	// time, or up to twice that; 2 min at first.
	SnapshotEvery time.Duration
	Bootstrap     bool   // make a new cluster in an empty data directory
	JoinToken     string // join a cluster from an empty data directory
	// Restarts is the timing of restarts for a new configuration. It is for tests,
	// which give it to all nodes.
	Restarts rollout.Timing
}

// Profiles lists the timing profiles.
func Profiles() []string { return []string{"lan", "wan"} }

// LogStores lists what the Raft log can be kept in, the default of a new node
// first.
func LogStores() []string { return cluster.LogStores() }

// Validate returns every mistake in c, joined into one error.
func (c Config) Validate() error {
	var mistakes []error
	if c.DataDir == "" {
		mistakes = append(mistakes, errors.New("no data directory is given: use -data-dir=FOLDER"))
	}
	if c.Bootstrap && c.JoinToken != "" {
		mistakes = append(mistakes, errors.New("-bootstrap makes a new cluster and -join-token joins one: give only one of them"))
	}
	if c.Profile != "" && !slices.Contains(Profiles(), c.Profile) {
		mistakes = append(mistakes, fmt.Errorf("timing profile %q is unknown: use one of %q", c.Profile, Profiles()))
	}
	if c.LogStore != "" && !slices.Contains(LogStores(), c.LogStore) {
		mistakes = append(mistakes, fmt.Errorf("-log-store=%q is unknown: use one of %q", c.LogStore, LogStores()))
	}
	if c.SnapshotEvery != 0 && c.SnapshotEvery < time.Second {
		mistakes = append(mistakes, fmt.Errorf("-snapshot-every=%s is too often: use at least 1s", c.SnapshotEvery))
	}
	for _, a := range []struct{ flag, value string }{
		{"-addr", c.Addr}, {"-advertise", c.Advertise},
		{"-gossip-addr", c.GossipAddr}, {"-gossip-advertise", c.GossipAdvertise},
	} {
		if a.value == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(a.value); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s=%q is not host:port: %w", a.flag, a.value, err))
		}
	}
	return errors.Join(mistakes...)
}

// checkFirstStart tells whether the node could listen. A data directory that
// holds something is not looked at: what is wrong with that is told later.
func (c Config) checkFirstStart(ctx context.Context) error {
	if entries, err := os.ReadDir(c.DataDir); err == nil && len(entries) > 0 {
		return nil
	}
	for _, a := range []struct{ flag, value string }{
		{"-addr", cmp.Or(c.Addr, DefaultAddr)}, {"-gossip-addr", cmp.Or(c.GossipAddr, DefaultGossipAddr)},
	} {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.value)
		if err != nil {
			return errs.New(errs.Unavailable, "cannot use %s=%s, so nothing was made: %w", a.flag, a.value, err)
		}
		if err := listener.Close(); err != nil {
			return errs.New(errs.Unavailable, "try %s=%s: %w", a.flag, a.value, err)
		}
	}
	return nil
}
