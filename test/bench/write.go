package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waypoint/api/configpb"
	"waypoint/client"
	"waypoint/test/harness"
)

const (
	rounds        = 3
	roundDuration = 3 * time.Second
	valueSize     = 256 // bytes per write
)

// measureFsync measures how often the disk makes one small append durable: the
// limit of every durable write that waits alone.
func measureFsync(_ context.Context, c *harness.Cluster) ([]row, error) {
	f, err := os.Create(filepath.Join(c.Dir, "fsync"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := row{name: "fsync of 256 B, alone", unit: "per s"}
	block := make([]byte, valueSize)
	for range rounds {
		n := 0
		start := time.Now()
		for ; time.Since(start) < time.Second; n++ {
			if _, err := f.Write(block); err != nil {
				return nil, err
			}
			if err := f.Sync(); err != nil {
				return nil, err
			}
		}
		r.samples = append(r.samples, float64(n)/time.Since(start).Seconds())
	}
	return []row{r}, nil
}

// measureWrites measures durable, linearizable writes of 256 B, with clients
// spread over all nodes. Each client waits for its answer before it goes on.
func measureWrites(ctx context.Context, c *harness.Cluster) ([]row, error) {
	if _, err := c.Run(ctx, "project", "apply", "bench"); err != nil {
		return nil, err
	}
	var rows []row
	for _, clients := range []int{1, 32, 256} {
		r := row{name: fmt.Sprintf("writes, %d clients on 3 nodes", clients), unit: "per s"}
		for range rounds {
			rate, err := writeRound(ctx, c, clients)
			if err != nil {
				return nil, err
			}
			r.samples = append(r.samples, rate)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// writeRound returns acknowledged writes per second of one round. Every client
// is connected, and has written once, before the clock starts.
func writeRound(ctx context.Context, c *harness.Cluster, clients int) (float64, error) {
	var acked atomic.Int64
	var ready, group sync.WaitGroup
	failures := make(chan error, clients)
	begin := make(chan time.Time)
	ready.Add(clients)
	for i := range clients {
		group.Go(func() {
			conn, err := c.Dial(i)
			if err == nil {
				defer conn.Close()
				err = writeOne(ctx, conn, i)
			}
			ready.Done()
			for end := (<-begin).Add(roundDuration); err == nil && time.Now().Before(end); {
				if err = writeOne(ctx, conn, i); err == nil {
					acked.Add(1)
				}
			}
			if err != nil {
				failures <- err
			}
		})
	}
	ready.Wait()
	start := time.Now()
	for range clients {
		begin <- start
	}
	group.Wait()
	took := time.Since(start)
	close(failures)
	var errs []error
	for err := range failures {
		errs = append(errs, err)
	}
	return float64(acked.Load()) / took.Seconds(), errors.Join(errs...)
}

func writeOne(ctx context.Context, conn *client.Client, i int) error {
	_, err := configpb.NewConfigClient(conn.Conn()).Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{{
		Scope: &configpb.Scope{Project: "bench"},
		Name:  fmt.Sprintf("CLIENT_%d", i),
		Value: strings.Repeat(string(rune('a'+time.Now().UnixNano()%26)), valueSize),
	}}})
	return err
}
