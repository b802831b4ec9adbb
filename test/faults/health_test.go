//go:build linux

package faults

import (
	"context"
	"fmt"
	"time"

	"waypoint/api/clusterpb"
	"waypoint/client"
	"waypoint/test/harness"
)

// recovery is how long a cluster may take to be healthy once every fault has
// ended. Restarted nodes read their log, and elections go wrong now and then.
const recovery = 30 * time.Second

// recover waits until the cluster is healthy, and returns how long that took.
func (w *world) recover(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	err := harness.Until(ctx, recovery, func() error { return w.healthy(ctx) })
	if err != nil {
		return 0, fmt.Errorf("the cluster does not recover: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.ending)
	return time.Since(began), nil
}

// healthy returns an error unless every member runs and votes, and answers
// fresh reads by itself, which takes a leader and that it has what was written.
func (w *world) healthy(ctx context.Context) error {
	for _, n := range w.members() {
		if !n.Running() {
			if err := w.revive(ctx, n); err != nil {
				return err
			}
		}
		if err := w.answers(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) answers(ctx context.Context, n *harness.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := client.New(client.Config{
		Addrs: []string{n.Addr}, CA: w.cluster.CA, Token: w.cluster.Token, Dial: w.host(harness.UserRole, 0).Dial,
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	reply, err := clusterpb.NewClusterClient(conn.Conn()).Members(ctx, &clusterpb.MembersRequest{})
	if err != nil {
		return fmt.Errorf("ask node %s: %w", n.Name, err)
	}
	if at := conn.Current(); at != n.Addr {
		return fmt.Errorf("node %s left the answer to %q", n.Name, at)
	}
	leaders, voters := 0, 0
	for _, m := range reply.GetMembers() {
		if m.GetLeader() {
			leaders++
		}
		if m.GetSuffrage() == "voter" {
			voters++
		}
	}
	if leaders != 1 || voters != w.size {
		return fmt.Errorf("node %s knows %d voters and %d leaders, want %d and 1", n.Name, voters, leaders, w.size)
	}
	return nil
}
