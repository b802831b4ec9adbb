package main

import (
	"context"
	"time"

	"waypoint/test/harness"
)

// upRuns is how often "waypoint up" is run.
const upRuns = 9

// measureUp measures "waypoint up" of a project whose stages do nothing, from
// the start of the command's process to its end. The command is its own runner.
func measureUp(ctx context.Context, shared *harness.Cluster) ([]row, error) {
	return fresh(ctx, shared, "up", func(c *harness.Cluster) ([]row, error) {
		if _, err := harness.Deploy(ctx, c, "nothing"); err != nil {
			return nil, err
		}
		r := row{name: "up: a project whose stages do nothing, whole process", unit: "s", bar: bar{atMost, 0.5}}
		for range upRuns {
			start := time.Now()
			if _, err := c.Run(ctx, "up"); err != nil {
				return nil, err
			}
			r.samples = append(r.samples, time.Since(start).Seconds())
		}
		return []row{r}, nil
	})
}
