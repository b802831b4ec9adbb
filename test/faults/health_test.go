//go:build linux

package faults

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"

	"waypoint/api/clusterpb"
	"waypoint/api/configpb"
	"waypoint/api/projectpb"
	"waypoint/client"
	"waypoint/test/harness"
)

// recovery is how long a cluster may take to be healthy once every fault has
// ended. It takes a second or two where the machine has nothing else to do, and
// some more for a new node to get a vote.
const recovery = time.Minute

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

// ask lets a client talk to one node, and returns an error if another one
// answered.
func (w *world) ask(ctx context.Context, n *harness.Node, limit time.Duration, call func(context.Context, grpc.ClientConnInterface) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := client.New(client.Config{
		Addrs: []string{n.Addr}, CA: w.cluster.CA, Token: w.cluster.Token, Dial: w.host(harness.UserRole, 0).Dial,
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := call(ctx, conn.Conn()); err != nil {
		return fmt.Errorf("ask node %s: %w", n.Name, err)
	}
	if at := conn.Current(); at != n.Addr {
		return fmt.Errorf("node %s left the answer to %q", n.Name, at)
	}
	return nil
}

func (w *world) answers(ctx context.Context, n *harness.Node) error {
	var reply *clusterpb.MembersResponse
	if err := w.ask(ctx, n, 3*time.Second, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		reply, err = clusterpb.NewClusterClient(conn).Members(ctx, &clusterpb.MembersRequest{})
		return err
	}); err != nil {
		return err
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

// agree returns an error unless all nodes have the same variables in the same
// projects: one whose state has gone its own way would otherwise never be seen.
func (w *world) agree(ctx context.Context) error {
	// A call whose client waits no longer may still be done for a while.
	return harness.Until(ctx, recovery, func() error { return w.same(ctx) })
}

func (w *world) same(ctx context.Context) error {
	var first []string
	for i, n := range w.members() {
		var has []string
		if err := w.ask(ctx, n, time.Minute, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
			has, err = variables(ctx, conn)
			return err
		}); err != nil {
			return err
		}
		if i == 0 {
			first = has
		}
		for _, one := range []struct {
			has, lacks *harness.Node
			lines      []string
		}{{n, w.members()[0], without(has, first)}, {w.members()[0], n, without(first, has)}} {
			if len(one.lines) > 0 {
				return fmt.Errorf("node %s has %d variables that %s has not: %s", one.has.Name, len(one.lines), one.lacks.Name, one.lines[0])
			}
		}
	}
	w.timeline.note("all nodes have the same %d variables", len(first))
	return nil
}

// without returns the lines of one list that another one lacks.
func without(lines, other []string) []string {
	there := map[string]bool{}
	for _, line := range other {
		there[line] = true
	}
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return there[line] })
}

// variables lists all variables of all projects with their values.
func variables(ctx context.Context, conn grpc.ClientConnInterface) ([]string, error) {
	projects, err := projectpb.NewProjectServiceClient(conn).ListProjects(ctx, &projectpb.ListProjectsRequest{})
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, p := range projects.GetProjects() {
		reply, err := configpb.NewConfigClient(conn).Get(ctx, &configpb.GetRequest{Scope: &configpb.Scope{Project: p.GetName()}, Exact: true})
		if err != nil {
			return nil, err
		}
		for _, v := range reply.GetVariables() {
			lines = append(lines, fmt.Sprintf("%s/%s=%q, version %d", p.GetName(), v.GetName(), v.GetValue(), v.GetVersion()))
		}
	}
	return lines, nil
}
