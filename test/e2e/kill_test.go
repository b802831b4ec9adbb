package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waypoint/api/jobpb"
	"waypoint/test/harness"
)

// slowProject is a project whose build takes a few seconds and counts how
// often it was begun and ended.
const slowProject = `
project = "slow"

app "slow" {
  build {
    use "exec" {
      command = ["sh", "-c", "echo begin >> ran; i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.2; done; echo end >> ran"]
      output  = "ran"
    }
  }
  deploy {
    use "noop" {}
  }
}
`

// TestKillAnyNode kills each node of three in turn, with SIGKILL, under a
// running "logs -f", a running job and a steady writer, and starts it again.
func TestKillAnyNode(t *testing.T) {
	ctx := testContext(t)
	c := startCluster(t, 3)
	deployHello(t, c)
	before := childStarts(t, ctx, c)
	logs, err := c.Follow(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Stop()
	startRunner(t, ctx, c)

	for round, node := range killOrder(t, ctx, c) {
		t.Logf("round %d: kill %s", round, node.Name)
		job := startSlowJob(t, ctx, c)
		killUnderLoad(t, ctx, c, node, logs)
		job.finishesOnce(t, ctx, c)
		if err := node.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if err := harness.Until(ctx, time.Minute, func() error { return c.Voters(ctx, 3) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := harness.Until(ctx, 30*time.Second, func() error { return sameStarts(ctx, c, before) }); err != nil {
		t.Error(err)
	}
}

// TestWholeClusterRestarts kills all three nodes and starts them at the same
// time: running applications never notice, no log line is lost, what was
// written is there, and writes go on.
func TestWholeClusterRestarts(t *testing.T) {
	ctx := testContext(t)
	c := startCluster(t, 3)
	deployHello(t, c)
	before := childStarts(t, ctx, c)
	logs, err := c.Follow(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Stop()
	for round := range 2 {
		if _, err := logs.Next(ctx, 4, 30*time.Second, ""); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("before-%d", round)
		mustRun(t, c, ctx, "project", "apply", name)
		for _, n := range c.Nodes {
			n.Kill()
		}
		started := make(chan error, len(c.Nodes))
		for _, n := range c.Nodes {
			go func() { started <- n.Start(ctx) }()
		}
		for range c.Nodes {
			if err := <-started; err != nil {
				t.Fatal(err)
			}
		}
		if err := harness.Until(ctx, time.Minute, func() error { return c.Voters(ctx, 3) }); err != nil {
			t.Fatal(err)
		}
		mustRun(t, c, ctx, "project", "inspect", name)
		if err := harness.Until(ctx, time.Minute, func() error { return sameStarts(ctx, c, before) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := logs.Next(ctx, 4, 30*time.Second, ""); err != nil {
		t.Error(err)
	}
	if missing := logs.Missing(); missing != "" {
		t.Errorf("log lines are missing: %s", missing)
	}
}

// TestWithoutQuorumApplicationsAreReached kills two nodes of three: writes fail
// in words, while logs, exec and stale reads go on through the node that is left.
func TestWithoutQuorumApplicationsAreReached(t *testing.T) {
	ctx := testContext(t)
	c := startCluster(t, 3)
	deployHello(t, c)
	before := childStarts(t, ctx, c)
	c.Nodes[0].Kill()
	c.Nodes[1].Kill()

	if out, err := c.Run(ctx, "project", "apply", "late", "-timeout=5s"); err == nil {
		t.Errorf("a write without a quorum succeeded: %s", out)
	}
	mustRun(t, c, ctx, "project", "inspect", "hello", "-stale")
	attached := func() error { return execEverywhere(ctx, c, before) }
	if err := harness.Until(ctx, 30*time.Second, attached); err != nil {
		t.Error(err)
	}
	logs, err := c.Follow(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Stop()
	if _, err := logs.Next(ctx, 4, 30*time.Second, ""); err != nil {
		t.Error(err)
	}
	for _, n := range c.Nodes[:2] {
		if err := n.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := harness.Until(ctx, time.Minute, func() error { return sameStarts(ctx, c, before) }); err != nil {
		t.Error(err)
	}
}

// execEverywhere runs a command in each instance.
func execEverywhere(ctx context.Context, c *harness.Cluster, instances map[string]uint32) error {
	for id := range instances {
		out, err := c.Run(ctx, "exec", "-instance="+id, "--", "echo", "hello from", id)
		if err != nil {
			return err
		}
		if out != "hello from "+id+"\n" {
			return fmt.Errorf("exec in %s said %q", id, out)
		}
	}
	return nil
}

// sameStarts returns an error unless every instance is attached and has started
// its application as often as before.
func sameStarts(ctx context.Context, c *harness.Cluster, before map[string]uint32) error {
	after, err := starts(ctx, c)
	if err == nil && fmt.Sprint(after) != fmt.Sprint(before) {
		err = fmt.Errorf("starts of each instance's application: %v before, %v now", before, after)
	}
	return err
}

// killOrder is the leader first, then the others.
func killOrder(t *testing.T, ctx context.Context, c *harness.Cluster) []*harness.Node {
	t.Helper()
	leader, err := c.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	order := []*harness.Node{leader}
	for _, n := range c.Nodes {
		if n != leader {
			order = append(order, n)
		}
	}
	return order
}

// killUnderLoad kills the node between the writes of a steady writer and
// checks that no write failed, none took 2 s and no log line is missing.
func killUnderLoad(t *testing.T, ctx context.Context, c *harness.Cluster, node *harness.Node, logs *harness.Follower) {
	t.Helper()
	writes := harness.StartWriter(ctx, func(ctx context.Context, n int) error {
		_, err := c.Run(ctx, "project", "apply", fmt.Sprintf("tick-%d", n))
		return err
	})
	defer writes.Stop()
	if err := writes.Await(ctx, 10, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := logs.Next(ctx, 2, 20*time.Second, ""); err != nil {
		t.Fatal(err)
	}
	logs.Forget()
	node.Kill()
	if err := writes.Await(ctx, 30, time.Minute); err != nil {
		t.Fatal(err)
	}
	writes.Stop()
	gap, failed, last := writes.Result()
	t.Logf("longest time between two writes when %s was killed: %s", node.Name, gap)
	if failed > 0 {
		t.Errorf("%d writes failed: %v", failed, last)
	}
	if gap >= 2*time.Second {
		t.Errorf("writes paused for %s", gap)
	}
	if _, err := logs.Next(ctx, 10, 20*time.Second, ""); err != nil {
		t.Error(err)
	}
	if missing := logs.Missing(); missing != "" {
		t.Errorf("log lines are missing: %s", missing)
	}
}

// childStarts returns how often each attached instance has started its application.
func childStarts(t *testing.T, ctx context.Context, c *harness.Cluster) map[string]uint32 {
	t.Helper()
	s, err := starts(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if len(s) != 2 {
		t.Fatalf("%d instances are attached, want 2", len(s))
	}
	return s
}

func starts(ctx context.Context, c *harness.Cluster) (map[string]uint32, error) {
	instances, err := c.Instances(ctx)
	s := map[string]uint32{}
	for _, i := range instances {
		s[i.GetId()] = i.GetChildStarts()
	}
	return s, err
}

// startRunner runs "waypoint runner agent" for the time of the test.
func startRunner(t *testing.T, ctx context.Context, c *harness.Cluster) {
	t.Helper()
	cmd := c.Command(ctx, "runner", "agent", "-name=r1")
	log, err := os.Create(filepath.Join(c.Dir, "runner.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Cancel(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		_ = cmd.Wait() // its exit code is not what is tested
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the runner said:\n%s", text)
		}
	})
}

// slowJob is a build on the remote runner.
type slowJob struct{ id, folder string }

func startSlowJob(t *testing.T, ctx context.Context, c *harness.Cluster) slowJob {
	t.Helper()
	folder, err := os.MkdirTemp(c.Dir, "slow-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "waypoint.hcl"), []byte(slowProject), 0o600); err != nil {
		t.Fatal(err)
	}
	out := mustRun(t, c, ctx, "build", "-p="+folder, "-remote", "-detach")
	fields := strings.Fields(out)
	job := slowJob{folder: folder}
	for _, f := range fields {
		if len(f) == 26 && strings.ToUpper(f) == f {
			job.id = f
		}
	}
	if job.id == "" {
		t.Fatalf("no job id in %q", out)
	}
	err = harness.Until(ctx, 30*time.Second, func() error {
		state, err := job.state(ctx, c)
		if err == nil && state.GetState() != jobpb.State_STATE_RUNNING {
			err = fmt.Errorf("job %s is %s, %s", job.id, state.GetState(), state.GetWaiting())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func (j slowJob) state(ctx context.Context, c *harness.Cluster) (*jobpb.Job, error) {
	var reply jobpb.GetResponse
	err := c.Query(ctx, &reply, "job", "inspect", j.id)
	return reply.GetJob(), err
}

// finishesOnce waits for the job's success and checks that its work was begun
// and ended exactly once and that its whole output is there.
func (j slowJob) finishesOnce(t *testing.T, ctx context.Context, c *harness.Cluster) {
	t.Helper()
	err := harness.Until(ctx, time.Minute, func() error {
		state, err := j.state(ctx, c)
		if err == nil && state.GetState() != jobpb.State_STATE_SUCCEEDED {
			err = fmt.Errorf("job %s is %s: %s", j.id, state.GetState(), state.GetError())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ran, err := os.ReadFile(filepath.Join(j.folder, "ran"))
	if err != nil || string(ran) != "begin\nend\n" {
		t.Errorf("the job's work ran as %q (%v), want once", ran, err)
	}
	out := mustRun(t, c, ctx, "job", "watch", j.id)
	for _, want := range []string{"line 0\n", "line 39\n"} {
		if strings.Count(out, want) != 1 {
			t.Errorf("the job's output has %q %d times, want once:\n%s", want, strings.Count(out, want), out)
		}
	}
}
