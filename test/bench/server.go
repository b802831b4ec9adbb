package main

import (
	"context"
	"time"

	"waypoint/test/harness"
)

// settleServer is how long a node idles before its memory is read: the
// collector gives memory back in the background.
const settleServer = 20 * time.Second

// measureServer measures the resident memory of three idle nodes that have made
// or joined a cluster, and hold a project. Each node is a sample, and each holds the bar.
func measureServer(ctx context.Context, shared *harness.Cluster) ([]row, error) {
	return fresh(ctx, shared, "server", func(c *harness.Cluster) ([]row, error) {
		if _, err := harness.Deploy(ctx, c, "idle"); err != nil {
			return nil, err
		}
		before, err := nodeUsages(c)
		if err != nil {
			return nil, err
		}
		if err := pause(ctx, settleServer); err != nil {
			return nil, err
		}
		after, err := nodeUsages(c)
		if err != nil {
			return nil, err
		}
		resident := row{name: "server: resident memory of an idle node", unit: "MiB", bar: bar{neverAbove, 60}}
		cpu := row{name: "server: CPU of an idle node", unit: "% of a core"}
		for i := range after {
			resident.samples = append(resident.samples, float64(after[i].Resident)/mib)
			cpu.samples = append(cpu.samples, 100*(after[i].CPU-before[i].CPU).Seconds()/settleServer.Seconds())
		}
		return []row{resident, cpu}, nil
	})
}

// nodeUsages reads what every node uses.
func nodeUsages(c *harness.Cluster) ([]harness.Usage, error) {
	var all []harness.Usage
	for _, n := range c.Nodes {
		u, err := harness.UsageOf(n.Pid())
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}
