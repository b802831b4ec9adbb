//go:build linux && faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waypoint/api/configpb"
	"waypoint/client"
	"waypoint/test/faults/disk"
	"waypoint/test/harness"
)

// sick is one node whose data directory lies on a disk that fails on command.
type sick struct {
	t     *testing.T
	c     *harness.Cluster
	disk  *disk.Disk
	conn  *client.Client
	acked []string
	size  int // bytes of a value
}

func startSick(t *testing.T, logStore string) *sick {
	t.Helper()
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	s := &sick{t: t, size: 2 << 10, c: harness.New(bin, t.TempDir())}
	s.c.AnyPort = true
	s.c.NodeArgs = func(int) []string { return []string{"-log-store=" + logStore} }
	front := filepath.Join(s.c.Dir, "n1")
	if err := os.Mkdir(front, 0o700); err != nil {
		t.Fatal(err)
	}
	if s.disk, err = disk.Mount(front, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.disk.Unmount(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.disk.Hang(false)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.c.Close(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() && len(s.c.Nodes) > 0 {
			t.Logf("the last lines of the node:\n%s", s.c.Nodes[0].LastLog(50))
		}
	})
	if err := s.c.StartFirst(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.c.Run(t.Context(), "project", "apply", "disk"); err != nil {
		t.Fatal(err)
	}
	if s.conn, err = s.c.Dial(0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

// write sets one more variable and notes its name if that was acknowledged.
func (s *sick) write(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	name := fmt.Sprintf("V%d", len(s.acked))
	_, err := configpb.NewConfigClient(s.conn.Conn()).Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{
		{Scope: &configpb.Scope{Project: "disk"}, Name: name, Value: strings.Repeat("v", s.size)},
	}})
	if err == nil {
		s.acked = append(s.acked, name)
	}
	return err
}

// writeMany returns how long the quickest of n writes took.
func (s *sick) writeMany(n int) time.Duration {
	s.t.Helper()
	best := time.Hour
	for range n {
		began := time.Now()
		if err := s.write(30 * time.Second); err != nil {
			s.t.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	return best
}

// ends writes until the node has ended, and checks what it says in the end.
func (s *sick) ends(says ...string) {
	s.t.Helper()
	node := s.c.Nodes[0]
	if err := harness.Until(s.t.Context(), time.Minute, func() error {
		_ = s.write(2 * time.Second) // some may yet be acknowledged
		if node.Running() {
			return errors.New("the node goes on")
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	last := node.LastLog(3)
	for _, text := range says {
		if !strings.Contains(last, text) {
			s.t.Errorf("the node does not say %q in the end:\n%s", text, last)
		}
	}
}

// comesBack starts the node again and looks for what it has acknowledged.
func (s *sick) comesBack() {
	s.t.Helper()
	if err := s.c.Nodes[0].Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	out, err := s.c.Run(s.t.Context(), "config", "get", "-project=disk", "-json")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range s.acked {
		if !strings.Contains(out, `"`+name+`"`) {
			s.t.Errorf("the acknowledged write of %s is lost", name)
		}
	}
	s.t.Logf("%d acknowledged writes are there", len(s.acked))
	s.writeMany(3)
}

func TestANodeOnASlowDiskIsSlow(t *testing.T) {
	const delay = 100 * time.Millisecond
	s := startSick(t, "wal")
	quick := s.writeMany(5)
	s.disk.SetDelay(delay)
	slow := s.writeMany(5)
	s.disk.SetDelay(0)
	t.Logf("a write took %v, with %v more for each access %v", quick, delay, slow)
	if slow < delay {
		t.Errorf("a write took %v though each access to the disk takes %v", slow, delay)
	}
	s.writeMany(5)
	if !s.c.Nodes[0].Running() {
		t.Error("the node has ended")
	}
}

// After a failed fsync the kernel may call the next one done though the data is
// lost: the first one has to be the last.
func TestTheFirstSyncThatFailsEndsTheNode(t *testing.T) {
	s := startSick(t, "wal")
	s.writeMany(20)
	s.disk.FailSync(true)
	s.ends("append to the Raft log", "input/output error")
	if n := s.disk.Refused(); n != 1 {
		t.Errorf("the node called fsync %d times on a disk that fails", n)
	}
	s.disk.FailSync(false)
	s.comesBack()
}

func TestAFullDiskEndsTheNodeAndLosesNothing(t *testing.T) {
	for _, logStore := range []string{"bolt", "wal"} {
		t.Run(logStore, func(t *testing.T) {
			s := startSick(t, logStore)
			s.writeMany(20)
			s.size = 60 << 10 // wal has the room for some of these already
			s.disk.Full(true)
			s.ends("no space left on device")
			if err := s.c.Nodes[0].Start(t.Context()); err == nil {
				t.Error("the node starts on a full disk")
			}
			s.ends("no space left on device", "nothing is lost")
			s.disk.Full(false)
			s.comesBack()
		})
	}
}

// A disk that answers nothing must not hold the leadership for ever.
func TestADiskThatHangsEndsTheNode(t *testing.T) {
	s := startSick(t, "wal")
	s.writeMany(20)
	s.disk.Hang(true)
	_ = s.write(time.Second)
	said := func() error {
		if last := s.c.Nodes[0].LastLog(20); !strings.Contains(last, "the disk did not answer within") {
			return fmt.Errorf("the node says nothing of its disk:\n%s", last)
		}
		return nil
	}
	if err := harness.Until(t.Context(), time.Minute, said); err != nil {
		t.Error(err)
	}
	s.disk.Hang(false)
	s.ends("the disk did not answer within")
	s.comesBack()
}
