//go:build linux

package cluster

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/api/clusterpb"
	"waypoint/api/projectpb"
	"waypoint/internal/wait"
)

// TestFullDiskEndsTheNodeOnly lets the leader's Raft log fail as on a full disk:
// its process must end with an error that says so, what was acknowledged must
// stay, the others must go on, and the node must come back when its disk does.
func TestFullDiskEndsTheNodeOnly(t *testing.T) {
	t.Parallel()
	g := startGroup(t, 3)
	ctx := g.context(2 * time.Minute)
	sick := g.leader()
	var others []string
	for i, m := range g.members {
		if i != sick {
			others = append(others, m.Info().Addr)
		}
	}
	rest := projectpb.NewProjectServiceClient(g.dialAddrs(others, g.token).Conn())
	if _, err := rest.ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: "before"}); err != nil {
		t.Fatal(err)
	}

	fillDisk(t, filepath.Join(g.members[sick].cfg.DataDir, "raft", "wal", "00000000000000000001-0000000000000000.wal"))
	if _, err := rest.ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: "during"}); err != nil {
		t.Errorf("write while the leader's disk fails: %v", err)
	}
	m := g.members[sick]
	select {
	case err := <-m.done:
		m.done <- err
		if err == nil || !strings.Contains(err.Error(), "append to the Raft log") {
			t.Errorf("the node ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the node whose disk is full goes on")
	}
	for _, name := range []string{"before", "during"} {
		if _, err := rest.GetProject(ctx, &projectpb.GetProjectRequest{Name: name}); err != nil {
			t.Errorf("read %s: %v", name, err)
		}
	}

	g.restart(sick)
	back := projectpb.NewProjectServiceClient(g.dial(sick, g.token).Conn())
	if _, err := back.GetProject(ctx, &projectpb.GetProjectRequest{Name: "during"}); err != nil {
		t.Errorf("read through the node that came back: %v", err)
	}
}

// leader returns the position of the member that leads.
func (g *group) leader() int {
	g.t.Helper()
	members := clusterpb.NewClusterClient(g.dial(0, g.token).Conn())
	at := -1
	wait.For(g.t, time.Minute, "a leader", func() bool {
		reply, err := members.Members(g.context(10*time.Second), &clusterpb.MembersRequest{})
		if err != nil {
			return false
		}
		for _, listed := range reply.GetMembers() {
			for i, m := range g.members {
				if listed.GetLeader() && m.Info().NodeID == listed.GetNode().GetId() {
					at = i
				}
			}
		}
		return at >= 0
	})
	return at
}

// fillDisk lets every further write to a file that this process has open fail
// with ENOSPC, by putting /dev/full in its place.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range open {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err != nil || target != path {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Dup3(int(full.Fd()), fd, syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("nothing has %s open", path)
}
