// Package e2e uses the product as a user does: built binaries, commands, a
// real application, nodes that are killed. Its tests see only what commands
// print and which processes run.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"waypoint/test/harness"
)

// binDir holds the binaries of this run. It is set once, before any test.
var binDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "waypoint-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	if err := harness.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// testContext ends shortly before the test binary's own limit would.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// startCluster runs n nodes for the time of the test. The nodes' logs are
// shown if the test fails.
func startCluster(t *testing.T, n int) *harness.Cluster {
	t.Helper()
	c := harness.New(binDir, t.TempDir())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, node := range c.Nodes {
				t.Logf("the last lines of %s:\n%s", node.Name, node.LastLog(60))
			}
		}
	})
	if err := c.Start(testContext(t), n); err != nil {
		t.Fatal(err)
	}
	return c
}

// deployHello copies the example into the cluster's folder and deploys it. It
// is destroyed when the test ends.
func deployHello(t *testing.T, c *harness.Cluster, flags ...string) {
	t.Helper()
	ctx := testContext(t)
	c.WorkDir = filepath.Join(c.Dir, "hello")
	if err := os.CopyFS(c.WorkDir, os.DirFS("../../examples/hello")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := c.Run(ctx, "destroy", "-auto-approve"); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	mustRun(t, c, ctx, append([]string{"up"}, flags...)...)
}

// mustRun calls the CLI and returns its output; a failure ends the test.
func mustRun(t *testing.T, c *harness.Cluster, ctx context.Context, args ...string) string {
	t.Helper()
	out, err := c.Run(ctx, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}
