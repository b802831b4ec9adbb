//go:build linux && faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waypoint/api/configpb"
	"waypoint/test/harness"
)

// TestKillEachNodeUnderLoad ends each node in turn, by SIGKILL and by SIGTERM,
// while clients on all nodes write unique names, and starts it again. No
// write may fail or take 2 s, and every acknowledged one must be there.
func TestKillEachNodeUnderLoad(t *testing.T) {
	c := harness.New(binDir, t.TempDir())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, n := range c.Nodes {
				t.Logf("the last lines of %s:\n%s", n.Name, n.LastLog(100))
			}
		}
	})
	ctx := t.Context()
	if err := c.Start(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Run(ctx, "project", "apply", "faults"); err != nil {
		t.Fatal(err)
	}
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		for _, node := range c.Nodes {
			t.Run(fmt.Sprintf("%s of %s", end, node.Name), func(t *testing.T) { endUnderLoad(t, c, node, end) })
		}
	}
}

func endUnderLoad(t *testing.T, c *harness.Cluster, node *harness.Node, end syscall.Signal) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var names acked
	var writers []*harness.Writer
	for i := range 6 {
		writers = append(writers, startUniqueWriter(t, ctx, c, i, &names))
	}
	awaitAll(t, ctx, writers, 20)
	node.Signal(end)
	awaitAll(t, ctx, writers, 50)
	for i, w := range writers {
		w.Stop()
		gap, failed, last := w.Result()
		t.Logf("writer %d: longest pause %s", i, gap)
		if failed > 0 || gap >= 2*time.Second {
			t.Errorf("writer %d: %d writes failed (%v), longest pause %s", i, failed, last, gap)
		}
	}
	if err := harness.Until(ctx, 30*time.Second, func() error {
		if node.Running() {
			return errors.New(node.Name + " is still running")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	names.allThere(t, ctx, c)
	if err := node.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := harness.Until(ctx, time.Minute, func() error { return c.Voters(ctx, 3) }); err != nil {
		t.Fatal(err)
	}
}

func awaitAll(t *testing.T, ctx context.Context, writers []*harness.Writer, n int) {
	t.Helper()
	for _, w := range writers {
		if err := w.Await(ctx, n, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
}

// acked is the set of names whose write was acknowledged.
type acked struct {
	mu    sync.Mutex
	names []string
}

func startUniqueWriter(t *testing.T, ctx context.Context, c *harness.Cluster, i int, names *acked) *harness.Writer {
	t.Helper()
	conn, err := c.Dial(i)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	prefix := fmt.Sprintf("W%d_%d", time.Now().UnixNano(), i)
	return harness.StartWriter(ctx, func(ctx context.Context, n int) error {
		name := fmt.Sprintf("%s_%d", prefix, n)
		zero := uint64(0) // must not exist: a write that is done twice is refused and so seen
		_, err := configpb.NewConfigClient(conn.Conn()).Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{
			{Scope: &configpb.Scope{Project: "faults"}, Name: name, Value: "1", IfVersion: &zero},
		}})
		if err == nil {
			names.mu.Lock()
			names.names = append(names.names, name)
			names.mu.Unlock()
		}
		return err
	})
}

// allThere checks that every acknowledged write can be read.
func (a *acked) allThere(t *testing.T, ctx context.Context, c *harness.Cluster) {
	t.Helper()
	out, err := c.Run(ctx, "config", "get", "-project=faults", "-json")
	if err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	lost := 0
	for _, name := range a.names {
		if !strings.Contains(out, `"`+name+`"`) {
			lost++
			t.Errorf("the acknowledged write of %s is lost", name)
		}
		if lost == 10 {
			t.Fatal("and perhaps more")
		}
	}
	t.Logf("%d acknowledged writes are there", len(a.names))
}
