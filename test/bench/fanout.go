package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"waypoint/api/configpb"
	"waypoint/client"
	"waypoint/test/harness"
)

const fanoutRounds = 7

// measureFanout measures the time from the answer to "config set" until the
// last of many instances on three nodes has the new configuration. The instances
// take it up at their next start, so that no restarts come between.
func measureFanout(ctx context.Context, shared *harness.Cluster) ([]row, error) {
	sizes := []struct {
		instances int
		limit     float64
	}{{2_000, 0.25}, {10_000, 1}}
	if err := mayOpen(11_000); err != nil {
		return nil, err
	}
	return fresh(ctx, shared, "fanout", func(c *harness.Cluster) (rows []row, err error) {
		d, err := harness.Deploy(ctx, c, "fanout")
		if err != nil {
			return nil, err
		}
		f, err := newFanout(ctx, c, d)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, f.end()) }()
		joined := 0
		for _, size := range sizes {
			if err := f.crowd.join(size.instances - joined); err != nil {
				return rows, err
			}
			joined = size.instances
			if err := registered(ctx, c, d, joined); err != nil {
				return rows, err
			}
			r := row{name: fmt.Sprintf("fanout: config set answered until the last of %d instances has it", joined), unit: "s", bar: bar{atMost, size.limit}}
			for range fanoutRounds {
				took, err := f.round(ctx)
				if err != nil {
					return rows, err
				}
				r.samples = append(r.samples, took)
			}
			rows = append(rows, r)
		}
		return rows, nil
	})
}

// fanout is a crowd and who sets its configuration.
type fanout struct {
	crowd *crowdProcess
	conn  *client.Client
	scope *configpb.Scope
	n     int // rounds so far
}

func newFanout(ctx context.Context, c *harness.Cluster, d *harness.Deployment) (*fanout, error) {
	conn, err := c.Dial(0)
	if err != nil {
		return nil, err
	}
	f := &fanout{conn: conn, scope: &configpb.Scope{Project: d.App.GetProject(), App: d.App.GetApp()}}
	_, err = configpb.NewConfigClient(conn.Conn()).SetPolicy(ctx, &configpb.SetPolicyRequest{
		Project: d.App.GetProject(), App: d.App.GetApp(), Policy: &configpb.Policy{Reload: configpb.Reload_RELOAD_NEXT_START},
	})
	if err == nil {
		f.crowd, err = startCrowd(ctx, d)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return f, nil
}

// round sets a new value and returns the seconds from the answer until the last
// instance has it, 0 if that was before.
func (f *fanout) round(ctx context.Context) (float64, error) {
	f.n++
	value := strconv.Itoa(f.n)
	_, err := configpb.NewConfigClient(f.conn.Conn()).Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{
		{Scope: f.scope, Name: roundVariable, Value: value},
	}})
	answered, clockErr := monotonic()
	if err := errors.Join(err, clockErr); err != nil {
		return 0, err
	}
	_, last, err := f.crowd.wait(value)
	return max(0, float64(last-answered)/1e9), err
}

func (f *fanout) end() error { return errors.Join(f.crowd.end(), f.conn.Close()) }
