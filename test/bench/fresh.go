package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"waypoint/test/harness"
)

// fresh measures on three new nodes of their own, whose memory and state
// nothing has touched, with further flags, and ends them. The shared ones only idle meanwhile.
func fresh(ctx context.Context, shared *harness.Cluster, name string, measure func(*harness.Cluster) ([]row, error), flags ...string) (rows []row, err error) {
	c := harness.New(shared.Bin, filepath.Join(shared.Dir, name))
	c.AnyPort, c.NodeArgs = true, func(int) []string { return flags }
	if err := os.Mkdir(c.Dir, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, c.Close(closing))
	}()
	if err := c.Start(ctx, 3); err != nil {
		return nil, err
	}
	return measure(c)
}
