package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/test/harness"
)

// TestUpThroughFollower deploys through the address of a node that does not lead.
func TestUpThroughFollower(t *testing.T) {
	ctx := testContext(t)
	c := startCluster(t, 3)
	leader, err := c.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	follower := c.Nodes[0]
	if follower == leader {
		follower = c.Nodes[1]
	}
	deployHello(t, c, "-addr="+follower.Addr)

	var status deploymentpb.StatusResponse
	if err := c.Query(ctx, &status, "status", "-addr="+leader.Addr); err != nil {
		t.Fatal(err)
	}
	if len(status.GetApps()) != 1 || !status.GetApps()[0].GetHealthy() {
		t.Errorf("status through the leader: %v", status.GetApps())
	}
	t.Run("reads its own writes through every other node", func(t *testing.T) {
		for i := range 10 {
			write, read := c.Nodes[i%3], c.Nodes[(i+1)%3]
			value := fmt.Sprintf("value-%d", i)
			mustRun(t, c, ctx, "config", "set", "-workspace=elsewhere", "-addr="+write.Addr, "ROUND="+value)
			got := mustRun(t, c, ctx, "config", "get", "-workspace=elsewhere", "-addr="+read.Addr, "ROUND")
			if !strings.Contains(got, value) {
				t.Errorf("wrote %s through %s, read through %s:\n%s", value, write.Name, read.Name, got)
			}
		}
	})
	t.Run("exec returns the command's exit code", func(t *testing.T) {
		_, err := c.Run(ctx, "exec", "--", "sh", "-c", "exit 7")
		var failed *harness.CommandError
		if !errors.As(err, &failed) || failed.Code != 7 {
			t.Errorf("exec of exit 7: %v", err)
		}
	})
	t.Run("a second deployment follows the first and prunes", func(t *testing.T) {
		for range 2 {
			mustRun(t, c, ctx, "up")
		}
		var list deploymentpb.ListDeploymentsResponse
		if err := c.Query(ctx, &list, "deployment", "list"); err != nil {
			t.Fatal(err)
		}
		var kept []uint64
		for _, d := range list.GetDeployments() {
			if d.GetStatus() == deploymentpb.Status_STATUS_SUCCEEDED {
				kept = append(kept, d.GetSequence())
			}
		}
		if fmt.Sprint(kept) != "[3 2]" {
			t.Errorf("deployments that are kept: %v, want the newest two", kept)
		}
	})
}

// TestLeaveAndReturn stops nodes with SIGTERM, one after the other, and starts
// them again with nothing but their data directory.
func TestLeaveAndReturn(t *testing.T) {
	ctx := testContext(t)
	c := startCluster(t, 3)
	for _, node := range c.Nodes {
		writes := harness.StartWriter(ctx, func(ctx context.Context, n int) error {
			_, err := c.Run(ctx, "project", "apply", fmt.Sprintf("tick-%d", n))
			return err
		})
		if err := writes.Await(ctx, 5, time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := node.Terminate(ctx); err != nil {
			t.Fatal(err)
		}
		if err := writes.Await(ctx, 10, time.Minute); err != nil {
			t.Fatal(err)
		}
		writes.Stop()
		if gap, failed, last := writes.Result(); failed > 0 || gap >= 2*time.Second {
			t.Errorf("%s left: %d writes failed (%v), longest pause %s", node.Name, failed, last, gap)
		}
		if err := node.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if err := harness.Until(ctx, time.Minute, func() error { return c.Voters(ctx, 3) }); err != nil {
			t.Fatal(err)
		}
	}
}

// brokenProject deploys a command that does not exist.
const brokenProject = `
project = "broken"

app "web" {
  build {
    use "noop" {}
  }
  deploy {
    use "local" {
      command = ["./does-not-exist"]
    }
  }
}
`

// TestMistakesAreRefused makes the mistakes of a new operator and checks that
// each is named and nothing is lost.
func TestMistakesAreRefused(t *testing.T) {
	ctx := testContext(t)
	c := startCluster(t, 1)
	first := c.Nodes[0]
	listen := []string{"-addr=127.0.0.1:0", "-gossip-addr=127.0.0.1:0"}
	token := strings.Fields(mustRun(t, c, ctx, "server", "join-token"))[0]
	wrongCA := "sha256:" + strings.Repeat("0", 64)
	broken := filepath.Join(c.Dir, "broken")
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "waypoint.hcl"), []byte(brokenProject), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		args []string
		says string
	}{
		{"an application that cannot start", []string{"up", "-p=" + broken}, "ended before"},
		{"unknown command", []string{"deploiment"}, ""},
		{"join over existing data", append([]string{"server", "run", "-join-token=" + token, "-data-dir=" + first.Data}, listen...), "data"},
		{"malformed join token", append([]string{"server", "run", "-join-token=wpj_nonsense", "-data-dir=" + filepath.Join(c.Dir, "x")}, listen...), "join token"},
		{"no data yet", append([]string{"server", "run", "-data-dir=" + filepath.Join(c.Dir, "y")}, listen...), "-bootstrap"},
		{"wrong CA", []string{"status", "-addr=" + first.Addr, "-ca=" + wrongCA}, "fingerprint"},
		{"nobody there", []string{"status", "-addr=127.0.0.1:1", "-timeout=2s"}, "127.0.0.1:1"},
		{"unknown job", []string{"job", "inspect", "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, "01ARZ3NDEKTSV4RRFFQ69G5FAV"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			out, err := c.Run(ctx, tc.args...)
			var failed *harness.CommandError
			if !errors.As(err, &failed) || failed.Code <= 0 {
				t.Fatalf("want a failure, got %v:\n%s", err, out)
			}
			if !strings.Contains(failed.Stderr, tc.says) {
				t.Errorf("the error does not mention %q:\n%s", tc.says, failed.Stderr)
			}
		})
	}
	mustRun(t, c, ctx, "operator", "members")
}

// TestDemo runs the demonstration, which checks itself.
func TestDemo(t *testing.T) {
	root := t.TempDir()
	for from, to := range map[string]string{binDir: "bin", "../../examples": "examples"} {
		from, err := filepath.Abs(from)
		if err == nil {
			err = os.Symlink(from, filepath.Join(root, to))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	demo := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.Command("go", "build", "-o", demo, "../../scripts/demo").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(testContext(t), demo)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "DEMO=once")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
