package cluster

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypoint/agent"
	"waypoint/api/clusterpb"
	"waypoint/api/configpb"
	"waypoint/api/projectpb"
	"waypoint/client"
	"waypoint/errs"
)

// TestReadsFollowWrites lets one client count a variable up through every node
// in turn while others read it through single nodes: nobody may read less
// than what was acknowledged before the read began, or go backwards.
func TestReadsFollowWrites(t *testing.T) {
	t.Parallel()
	g := startGroup(t, 3)
	ctx := g.context(2 * time.Minute)
	scope := &configpb.Scope{Project: "count"}
	if _, err := projectpb.NewProjectServiceClient(g.dial(0, g.token).Conn()).ApplyProject(ctx,
		&projectpb.ApplyProjectRequest{Name: "count"}); err != nil {
		t.Fatal(err)
	}
	var acked atomic.Int64
	done := make(chan struct{})
	var readers sync.WaitGroup
	for i := range g.members {
		config := configpb.NewConfigClient(g.dial(i, g.token).Conn())
		readers.Go(func() {
			last := int64(0)
			for {
				select {
				case <-done:
					return
				default:
				}
				floor := max(last, acked.Load())
				reply, err := config.Get(ctx, &configpb.GetRequest{Scope: scope, Name: "N", Exact: true})
				if err != nil {
					t.Errorf("read through %d: %v", i, err)
					return
				}
				got := int64(0)
				if v := reply.GetVariables(); len(v) > 0 {
					got, _ = strconv.ParseInt(v[0].GetValue(), 10, 64)
				}
				if got < floor {
					t.Errorf("read %d through node %d after %d was acknowledged or read", got, i, floor)
					return
				}
				last = got
			}
		})
	}
	for n := int64(1); n <= 150 && !t.Failed(); n++ {
		config := configpb.NewConfigClient(g.dial(int(n)%3, g.token).Conn())
		before := uint64(n - 1)
		_, err := config.Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{
			{Scope: scope, Name: "N", Value: strconv.FormatInt(n, 10), IfVersion: &before}}})
		if err != nil {
			t.Errorf("write %d: %v", n, err)
			break
		}
		acked.Store(n)
	}
	close(done)
	readers.Wait()
}

// TestWithoutQuorum stops two nodes of three: writes and current reads fail in
// words, stale reads go on.
func TestWithoutQuorum(t *testing.T) {
	t.Parallel()
	g := startGroup(t, 3)
	ctx := g.context(2 * time.Minute)
	last := g.dial(2, g.token)
	projects := projectpb.NewProjectServiceClient(last.Conn())
	if _, err := projects.ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: "kept"}); err != nil {
		t.Fatal(err)
	}
	g.members[0].stop()
	g.members[1].stop()
	_, err := projects.ApplyProject(g.context(10*time.Second), &projectpb.ApplyProjectRequest{Name: "late"})
	if !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.OutcomeUnknown) {
		t.Errorf("write without a quorum: %v", err)
	}
	if _, err := projects.GetProject(g.context(20*time.Second), &projectpb.GetProjectRequest{Name: "kept"}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("current read without a quorum: %v", err)
	}
	reply, err := projects.GetProject(client.WithStale(g.context(8*time.Second)), &projectpb.GetProjectRequest{Name: "kept"})
	if err != nil || reply.GetProject().GetName() != "kept" {
		t.Errorf("stale read without a quorum: %v, %v", reply, err)
	}
}

// TestMemberReturns stops each member in turn and starts it again from its
// data directory: what was written meanwhile is there.
func TestMemberReturns(t *testing.T) {
	t.Parallel()
	g := startGroup(t, 3)
	ctx := g.context(3 * time.Minute)
	for round := range 3 {
		old := g.members[round]
		old.stop()
		other := g.dial((round+1)%3, g.token)
		name := fmt.Sprintf("written-without-%d", round)
		if _, err := projectpb.NewProjectServiceClient(other.Conn()).ApplyProject(ctx,
			&projectpb.ApplyProjectRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
		g.restart(round)
		reply, err := projectpb.NewProjectServiceClient(g.dial(round, g.token).Conn()).GetProject(ctx,
			&projectpb.GetProjectRequest{Name: name})
		if err != nil || reply.GetProject().GetName() != name {
			t.Errorf("read through the member that returned: %v, %v", reply, err)
		}
	}
}

// TestAllMembersReturn stops all members and starts them again at once, as a
// power cut does: none may take the others for strangers while their states
// are still empty.
func TestAllMembersReturn(t *testing.T) {
	t.Parallel()
	g := startGroup(t, 3)
	ctx := g.context(3 * time.Minute)
	projects := projectpb.NewProjectServiceClient(g.dial(0, g.token).Conn())
	for n := range 100 {
		if _, err := projects.ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: fmt.Sprintf("kept-%d", n)}); err != nil {
			t.Fatal(err)
		}
	}
	// Where they were, so that they find each other before they know anything.
	listed, err := clusterpb.NewClusterClient(g.dial(0, g.token).Conn()).Members(ctx, &clusterpb.MembersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	home := make(map[string]*clusterpb.Node)
	for _, m := range listed.GetMembers() {
		home[m.GetNode().GetName()] = m.GetNode()
	}
	for _, m := range g.members {
		m.stop()
	}
	for i, m := range g.members {
		at := home[m.cfg.Name]
		g.members[i] = g.launch(agent.Config{DataDir: m.cfg.DataDir, Name: m.cfg.Name, Addr: at.GetAddr(), GossipAddr: at.GetGossipAddr()})
	}
	for i, m := range g.members {
		g.awaitReady(m)
		reply, err := projectpb.NewProjectServiceClient(g.dial(i, g.token).Conn()).GetProject(ctx,
			&projectpb.GetProjectRequest{Name: "kept-99"})
		if err != nil || reply.GetProject().GetName() != "kept-99" {
			t.Errorf("read through member %d: %v, %v", i, reply, err)
		}
	}
}
