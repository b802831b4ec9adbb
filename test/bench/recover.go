package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"waypoint/api/projectpb"
	"waypoint/client"
	"waypoint/test/harness"
)

const (
	recoverObjects = 1_000_000
	snapshotWaits  = 90 * time.Second
	snapshotPeek   = 5 * time.Millisecond // between looks at the folder
)

// measureRecover measures nodes that hold very much: how long one takes from
// its start until it serves current reads, and the longest pause in the writes
// of many writers while the leader takes a snapshot.
func measureRecover(ctx context.Context, shared *harness.Cluster) ([]row, error) {
	return fresh(ctx, shared, "recover", func(c *harness.Cluster) ([]row, error) {
		if _, err := harness.Deploy(ctx, c, benchProject); err != nil {
			return nil, err
		}
		if err := fillNodes(ctx, c, recoverObjects); err != nil {
			return nil, err
		}
		starts := row{name: fmt.Sprintf("recover: start of a node with %d objects, until it serves reads", recoverObjects), unit: "s", bar: bar{atMost, 20}}
		resident := row{name: "recover: resident memory of it then", unit: "MiB"}
		for _, n := range c.Nodes {
			took, err := restart(ctx, c, n)
			if err != nil {
				return nil, err
			}
			use, err := harness.UsageOf(n.Pid())
			if err != nil {
				return nil, err
			}
			starts.samples = append(starts.samples, took.Seconds())
			resident.samples = append(resident.samples, float64(use.Resident)/mib)
		}
		pauses, err := snapshotPauses(ctx, c)
		return append([]row{starts, resident}, pauses...), err
	}, "-snapshot-after=2000", "-snapshot-every=10s")
}

// fillNodes stops all nodes, fills their data and starts them again.
func fillNodes(ctx context.Context, c *harness.Cluster, count int) error {
	ending, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	args := []string{fillCommand, strconv.Itoa(count)}
	for _, n := range c.Nodes {
		if err := n.Terminate(ending); err != nil {
			return err
		}
		args = append(args, filepath.Join(n.Data, "raft"))
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fill the nodes: %w", err)
	}
	var starting sync.WaitGroup
	failed := make([]error, len(c.Nodes))
	for i, n := range c.Nodes { // none is ready without another
		starting.Go(func() { failed[i] = n.Start(ctx) })
	}
	starting.Wait()
	return errors.Join(failed...)
}

// restart stops a node and measures its start, until it has answered a current
// read itself.
func restart(ctx context.Context, c *harness.Cluster, n *harness.Node) (time.Duration, error) {
	ending, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := n.Terminate(ending); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := n.Start(ctx); err != nil {
		return 0, err
	}
	conn, err := client.New(client.Config{Addrs: []string{n.Addr}, CA: c.CA, Token: c.Token})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_, err = projectpb.NewProjectServiceClient(conn.Conn()).GetProject(ctx, &projectpb.GetProjectRequest{Name: benchProject})
	return time.Since(start), err
}

// snapshotPauses lets writers write until the leader has taken a few snapshots,
// and compares the longest pause in each with that in the time before it.
func snapshotPauses(ctx context.Context, c *harness.Cluster) (rows []row, err error) {
	during := row{name: "recover: longest pause in writes while the leader takes a snapshot", unit: "ms", bar: bar{atMost, 50}}
	before := row{name: "recover: longest pause in the time before it", unit: "ms"}
	length := row{name: "recover: time that the snapshot took", unit: "s"}
	g, err := begin(ctx, own{c}, load{clients: probes, op: "probe"})
	if err != nil {
		return nil, err
	}
	w := &witness{answers: make([][]time.Time, probes)}
	var reading sync.WaitGroup
	reading.Go(func() { w.read(g) })
	defer func() {
		g.signal(syscall.SIGTERM)
		reading.Wait()
		err = errors.Join(err, g.end())
	}()
	if err := w.await(ctx, time.Now()); err != nil {
		return nil, err
	}
	quiet := time.Now() // since then no snapshot has been taken
	for range rounds {
		leader, err := c.Leader(ctx)
		if err != nil {
			return nil, err
		}
		begun, ended, err := awaitSnapshot(ctx, filepath.Join(leader.Data, "raft", "snapshots"))
		if err != nil {
			return nil, err
		}
		if now, err := c.Leader(ctx); err != nil || now != leader {
			return nil, errors.Join(errors.New("the leader changed while it took a snapshot"), err)
		}
		took := ended.Sub(begun)
		during.samples = append(during.samples, milliseconds(w.pause(begun, ended)))
		before.samples = append(before.samples, milliseconds(w.pause(quiet, begun)))
		quiet = ended
		length.samples = append(length.samples, took.Seconds())
	}
	return []row{during, before, length}, nil
}

// awaitSnapshot returns when the next snapshot was begun and ended. One that is
// being taken already does not count.
func awaitSnapshot(ctx context.Context, dir string) (begun, ended time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, snapshotWaits)
	defer cancel()
	tick := time.NewTicker(snapshotPeek)
	defer tick.Stop()
	idle := false
	for {
		unfinished, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return begun, ended, err
		}
		switch {
		case len(unfinished) == 0 && !begun.IsZero():
			return begun, time.Now(), nil
		case len(unfinished) == 0:
			idle = true
		case idle && begun.IsZero():
			begun = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return begun, ended, fmt.Errorf("no snapshot in %s: %w", strings.TrimSpace(dir), ctx.Err())
		}
	}
}

// pause is the longest time without a success of any writer between two moments.
func (w *witness) pause(from, to time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var within []time.Time
	for _, answers := range w.answers {
		for _, at := range answers {
			if at.After(from) && at.Before(to) {
				within = append(within, at)
			}
		}
	}
	slices.SortFunc(within, time.Time.Compare)
	return longest(append(append([]time.Time{from}, within...), to), from)
}
