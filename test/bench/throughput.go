package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"waypoint/test/harness"
)

const (
	pairs         = 5 // rounds of ours, each followed by one of the peer
	roundDuration = 2 * time.Second
)

// measureWrites measures durable, linearizable writes of 256 B, with clients
// spread over all nodes.
func (o options) measureWrites(ctx context.Context, c *harness.Cluster) ([]row, error) {
	return o.besideEtcd(ctx, c, "put", "writes", map[int]bar{
		1: {ratioAtLeast, 1.2}, 32: {ratioAtLeast, 1.8}, 256: {ratioAtLeast, 2.5},
	})
}

// measureReads measures linearizable reads of one variable.
func (o options) measureReads(ctx context.Context, c *harness.Cluster) ([]row, error) {
	return o.besideEtcd(ctx, c, "get", "reads", map[int]bar{1: {ratioAtLeast, 1}, 256: {ratioAtLeast, 1.5}})
}

// besideEtcd measures one operation with a few numbers of clients, ours and
// etcd in turns.
func (o options) besideEtcd(ctx context.Context, c *harness.Cluster, op, what string, bars map[int]bar) ([]row, error) {
	if _, err := c.Run(ctx, "project", "apply", benchProject); err != nil {
		return nil, err
	}
	peer, err := startEtcd(ctx, c.Dir, filepath.Join("bin", "tools", "etcdload"))
	if err != nil {
		return nil, err
	}
	defer peer.stop()
	var rows []row
	for _, clients := range []int{1, 32, 256} {
		var ours, theirs []figures
		for n := range pairs {
			l := load{clients: clients, op: op, last: roundDuration}
			if o.profile != "" && n == pairs-1 {
				l.profile = filepath.Join(o.profile, fmt.Sprintf("%s-%d", op, clients))
			}
			f, err := round(ctx, own{c}, peer, l)
			if err != nil {
				return rows, err
			}
			ours = append(ours, f)
			if f, err = round(ctx, peer, own{c}, l); err != nil {
				return rows, err
			}
			theirs = append(theirs, f)
		}
		name := fmt.Sprintf("%s, %d clients on 3 nodes", what, clients)
		rows = append(rows, row{name: name, unit: "per s", samples: each(ours, figures.rate),
			peer: peer.name(), against: each(theirs, figures.rate), bar: bars[clients]})
		if o.verbose {
			rows = append(rows, explain(ours, theirs, peer.name())...)
		}
	}
	return rows, nil
}

// explain shows what a call costs, and how long it takes.
func explain(ours, theirs []figures, peer string) []row {
	var rows []row
	for _, e := range []struct {
		name, unit string
		of         func(figures) float64
	}{
		{"CPU of the clients", "µs/call", figures.clientCost},
		{"CPU of the leader", "µs/call", figures.leaderCost},
		{"CPU of each follower", "µs/call", figures.followerCost},
		{"half of the calls within", "ms", func(f figures) float64 { return f.Median }},
		{"99 % of the calls within", "ms", func(f figures) float64 { return f.P99 }},
	} {
		rows = append(rows, row{name: "    " + e.name, unit: e.unit, samples: each(ours, e.of), peer: peer, against: each(theirs, e.of)})
	}
	// Each in the rounds of the other.
	return append(rows, row{name: "    CPU of idle nodes, together", unit: "% of one", samples: each(theirs, figures.idleCost),
		peer: peer, against: each(ours, figures.idleCost)})
}

func each(all []figures, of func(figures) float64) []float64 {
	var list []float64
	for _, f := range all {
		list = append(list, of(f))
	}
	return list
}

func (f figures) rate() float64 { return float64(f.Count) / f.Seconds }

func (f figures) clientCost() float64 { return f.CPU * 1e6 / float64(f.Count) }

func (f figures) leaderCost() float64 {
	return float64(f.nodes[0].Microseconds()) / float64(f.Count)
}

func (f figures) followerCost() float64 {
	var sum time.Duration
	for _, used := range f.nodes[1:] {
		sum += used
	}
	return float64(sum.Microseconds()) / float64(len(f.nodes)-1) / float64(f.Count)
}

func (f figures) idleCost() float64 { return 100 * f.rest.Seconds() / f.Seconds }
