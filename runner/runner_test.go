package runner_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/wait"
	"waypoint/plugin"
	"waypoint/runner"
)

const wholeApp = `
  config {
    env = { GREETING = "hello" }
  }
  build {
    use "exec" {
      command = ["sh", "-c", "echo building; echo made >out"]
      output  = "out"
    }
    registry {
      use "noop" {}
    }
    hook {
      when    = "before"
      command = ["echo", "first"]
    }
    hook {
      when       = "after"
      command    = ["false"]
      on_failure = "continue"
    }
  }
  deploy {
    use "noop" {}
  }
  release {
    use "noop" {}
  }
`

const testBuild = `
  build {
    use "test" {}
  }
`

func TestJobRunsAllStagesAndItsOutputIsStreamedAndStored(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(wholeApp)
	b.start(nil)
	id := b.submit(b.spec(jobpb.Operation_OPERATION_UP))
	live := b.watch(0, id, nil)
	if !errors.Is(live.err, io.EOF) || live.last.GetState() != jobpb.State_STATE_SUCCEEDED {
		t.Fatalf("watch ended with %v, %v", live.last, live.err)
	}
	for _, want := range []string{"first\n", "building\n", "hook failed, going on", "==> push web", "==> release web\n", "v1\n"} {
		if !strings.Contains(live.text, want) {
			t.Errorf("output lacks %q:\n%s", want, live.text)
		}
	}
	if again := b.watch(0, id, nil); again.text != live.text {
		t.Errorf("stored output is\n%s\nnot\n%s", again.text, live.text)
	}
	var stages []string
	for _, s := range live.last.GetStages() {
		stages = append(stages, s.GetName()+" "+s.GetState().String()[len("STAGE_STATE_"):])
	}
	if got := strings.Join(stages, ", "); got != "build SUCCEEDED, push SUCCEEDED, deploy SUCCEEDED, release SUCCEEDED" {
		t.Errorf("stages are %s", got)
	}
	tx := b.Store.Read()
	ref := &deploymentpb.AppRef{Project: "shop", App: "web", Workspace: "default"}
	if d := b.deployments(); len(d) != 1 || tx.CurrentRelease(ref).GetDeploymentId() != d[0].GetId() {
		t.Errorf("deployments are %v", d)
	}
	if vars, _ := tx.EffectiveConfig(ref); len(vars) != 1 || vars[0].GetName() != "GREETING" {
		t.Errorf("config is %v", vars)
	}
	if a := tx.LatestArtifact(ref); a.GetHost() != "here" || !strings.HasSuffix(a.GetDescription(), "/out") {
		t.Errorf("artifact is %v", a)
	}
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

func TestFailedStageFailsTheJob(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(testBuild)
	b.start(withBuilder(func(context.Context, *plugin.BuildRequest) error { return errors.New("no sources \xff") }))
	id := b.submit(b.spec(jobpb.Operation_OPERATION_BUILD))
	job := b.ended(id, jobpb.State_STATE_FAILED)
	if job.GetError() != "build web: no sources ?" || job.GetStages()[0].GetState() != jobpb.StageState_STAGE_STATE_FAILED {
		t.Errorf("job is %v", job)
	}
	if builds := b.Store.Read().Builds(nil, 0); len(builds) != 1 || builds[0].GetStatus() != deploymentpb.Status_STATUS_FAILED {
		t.Errorf("builds are %v", builds)
	}
}

func TestPanicInAPluginFailsTheJobOnly(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(testBuild)
	b.start(withBuilder(func(context.Context, *plugin.BuildRequest) error { panic("broken") }))
	b.ended(b.submit(b.spec(jobpb.Operation_OPERATION_BUILD)), jobpb.State_STATE_FAILED)
	b.ended(b.submit(&jobpb.Spec{Operation: jobpb.Operation_OPERATION_NOOP}), jobpb.State_STATE_SUCCEEDED)
}

func TestCancelStopsARunningJob(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(testBuild)
	begun := make(chan struct{})
	b.start(withBuilder(func(ctx context.Context, _ *plugin.BuildRequest) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}))
	id := b.submit(b.spec(jobpb.Operation_OPERATION_BUILD))
	receive(t, begun)
	if _, err := b.client(0).Cancel(context.Background(), &jobpb.CancelRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
	b.ended(id, jobpb.State_STATE_CANCELED)
}

func TestLongOutputKeepsItsHalves(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(testBuild)
	line := strings.Repeat("x", 1023) + "\n"
	b.start(withBuilder(func(_ context.Context, req *plugin.BuildRequest) error {
		for range 3000 {
			if _, err := io.WriteString(req.Output, line); err != nil {
				return err
			}
		}
		_, err := io.WriteString(req.Output, "the end\n")
		return err
	}))
	id := b.submit(b.spec(jobpb.Operation_OPERATION_BUILD))
	job := b.ended(id, jobpb.State_STATE_SUCCEEDED)
	stored := b.watch(0, id, nil)
	if !job.GetOutputTruncated() || job.GetOutputBytes() < 3000*1024 || len(stored.text) != 1<<20 {
		t.Errorf("kept %d of %d bytes, truncated %v", len(stored.text), job.GetOutputBytes(), job.GetOutputTruncated())
	}
	if !strings.HasPrefix(stored.text, "==> build web\nxxx") || !strings.Contains(stored.text, "the end\n") {
		t.Error("the halves are wrong")
	}
}

func TestLostLeaseQueuesAgainWhatMayRunTwice(t *testing.T) {
	b := newBench(t, 600*time.Millisecond, 1)
	b.project(testBuild)
	attempts := make(chan context.Context, 10)
	b.start(withBuilder(func(ctx context.Context, _ *plugin.BuildRequest) error {
		attempts <- ctx
		if len(attempts) > 1 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}))
	id := b.submit(b.spec(jobpb.Operation_OPERATION_BUILD))
	wait.For(t, patience, "the first attempt", func() bool { return len(attempts) == 1 })
	b.offline.Store(true)
	first := <-attempts
	attempts <- first // so that the next one sees that it is the second
	select {
	case <-first.Done(): // by the runner's own clock, before the leader acts
		if job := b.job(id); job.GetAttempt() != 1 || job.GetState() != jobpb.State_STATE_RUNNING {
			t.Errorf("job is %v when its attempt stops", job)
		}
	case <-time.After(patience):
		t.Fatal("the attempt goes on without a lease")
	}
	b.offline.Store(false)
	if job := b.ended(id, jobpb.State_STATE_SUCCEEDED); job.GetAttempt() < 2 {
		t.Errorf("attempt is %d", job.GetAttempt())
	}
	conn := b.nodes[0].server.Dial(b.User)
	_, err := deploymentpb.NewDeploymentServiceClient(conn).CreateBuild(context.Background(), &deploymentpb.CreateBuildRequest{
		App: &deploymentpb.AppRef{Project: "shop", App: "web"}, Plugin: "test", Fence: &deploymentpb.Fence{JobId: id, Attempt: 1},
	})
	if !errs.Is(err, errs.StaleAttempt) {
		t.Errorf("a record of the first attempt: %v", err)
	}
}

func TestLostLeaseFailsWhatMustNotRunTwice(t *testing.T) {
	b := newBench(t, 300*time.Millisecond, 1)
	b.project(testBuild)
	begun := make(chan struct{})
	b.start(withBuilder(func(ctx context.Context, _ *plugin.BuildRequest) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}))
	id := b.submit(b.spec(jobpb.Operation_OPERATION_UP))
	receive(t, begun)
	b.offline.Store(true)
	if job := b.ended(id, jobpb.State_STATE_FAILED); !strings.Contains(job.GetError(), "has not been heard of") {
		t.Errorf("error is %q", job.GetError())
	}
}

func TestWorkGoesOnWhenItsNodeDies(t *testing.T) {
	b := newBench(t, 15*time.Second, 2)
	b.project(testBuild)
	steps := make(chan string)
	var connection *cluster
	b.start(func(c *runner.Config) {
		connection = c.Client.(*cluster)
		withBuilder(func(ctx context.Context, req *plugin.BuildRequest) error {
			for step := range steps {
				fmt.Fprintf(req.Output, "%s\n", step)
			}
			return ctx.Err()
		})(c)
	})
	id := b.submit(b.spec(jobpb.Operation_OPERATION_BUILD))
	seen := make(chan string, 100)
	result := make(chan watched, 1)
	go func() { result <- b.watch(1, id, func(text string) { seen <- text }) }()
	await := func(want string) {
		t.Helper()
		for limit := time.After(patience); ; {
			select {
			case text := <-seen:
				if strings.HasSuffix(text, want+"\n") {
					return
				}
			case <-limit:
				t.Fatalf("%q is not seen", want)
			}
		}
	}
	steps <- "one"
	await("one")
	connection.Avoid("") // where the runner looks next
	b.nodes[0].stop()
	steps <- "two"
	await("two")
	if home := b.Store.Read().Runners()[0].GetNodeId(); home != b.nodes[1].id {
		t.Errorf("home is %s", home)
	}
	steps <- "three"
	close(steps)
	w := <-result
	if job := w.last; job.GetState() != jobpb.State_STATE_SUCCEEDED || job.GetAttempt() != 1 {
		t.Errorf("job is %v", job)
	}
	if want := "==> build web\none\ntwo\nthree\nmade\n"; w.text != want {
		t.Errorf("output is %q, want %q", w.text, want)
	}
}

func TestDrainMovesTheRunnerAndItsWork(t *testing.T) {
	b := newBench(t, 15*time.Second, 2)
	b.project(testBuild)
	begun, release := make(chan struct{}), make(chan struct{})
	b.start(withBuilder(func(context.Context, *plugin.BuildRequest) error {
		close(begun)
		<-release
		return nil
	}))
	id := b.submit(b.spec(jobpb.Operation_OPERATION_BUILD))
	receive(t, begun)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if left := b.nodes[0].runners.Drain(ctx); left != 0 {
		t.Fatalf("%d runners are left", left)
	}
	wait.For(t, patience, "the runner to attach elsewhere", func() bool { return b.nodes[1].runners.Attached() == 1 })
	close(release)
	if job := b.ended(id, jobpb.State_STATE_SUCCEEDED); job.GetAttempt() != 1 {
		t.Errorf("attempt is %d", job.GetAttempt())
	}
}

func TestQueuedJobSaysWhatItWaitsFor(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(testBuild)
	id := b.submit(&jobpb.Spec{Operation: jobpb.Operation_OPERATION_NOOP, Target: &jobpb.Target{Host: "elsewhere"}})
	waiting := func() string {
		answer, err := b.client(0).Get(context.Background(), &jobpb.GetRequest{Id: id})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetJob().GetWaiting()
	}
	if got := waiting(); got != "no runner is attached" {
		t.Errorf("waits: %q", got)
	}
	b.start(nil)
	wait.For(t, patience, "the runner's row", func() bool { return len(b.Store.Read().Runners()) == 1 })
	if got := waiting(); got != "no runner on host elsewhere is attached" {
		t.Errorf("waits: %q", got)
	}
	b.start(func(c *runner.Config) { c.Host = "elsewhere" })
	b.ended(id, jobpb.State_STATE_SUCCEEDED)
}

func TestUsersRunnerTakesOnlyWhatIsAimedAtIt(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	r, _ := b.start(func(c *runner.Config) { c.Client = b.connect(b.User) }) // without Local: the node says so
	other := b.submit(&jobpb.Spec{Operation: jobpb.Operation_OPERATION_NOOP})
	own := b.submit(&jobpb.Spec{Operation: jobpb.Operation_OPERATION_NOOP, Target: &jobpb.Target{RunnerId: r.ID()}})
	b.ended(own, jobpb.State_STATE_SUCCEEDED)
	if job := b.job(other); job.GetState() != jobpb.State_STATE_QUEUED {
		t.Errorf("the other job is %s", job.GetState())
	}
}

func TestRunnerThatStopsSaysSo(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(testBuild)
	begun := make(chan struct{})
	_, stop := b.start(withBuilder(func(ctx context.Context, _ *plugin.BuildRequest) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}))
	id := b.submit(b.spec(jobpb.Operation_OPERATION_BUILD))
	receive(t, begun)
	stop()
	if job := b.ended(id, jobpb.State_STATE_FAILED); job.GetError() != "the runner was stopped" {
		t.Errorf("error is %q", job.GetError())
	}
	wait.For(t, patience, "the runner's row to go", func() bool { return len(b.Store.Read().Runners()) == 0 })
}

func TestRunnerOfARevokedTokenEnds(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	r := runner.New(runner.Config{Client: b.connect("wp1_bad.token"), Plugins: noopTable(), Logger: b.Logger})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Run(ctx); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("error is %v", err)
	}
}

func TestManyJobsRunOnceEach(t *testing.T) {
	const count = 500
	b := newBench(t, 15*time.Second, 2)
	var mu sync.Mutex
	assigned, finished := map[string]int{}, map[string]int{}
	b.OnApply(func(cmd *commandpb.Command) error {
		mu.Lock()
		defer mu.Unlock()
		if c := cmd.GetJobAssign(); c != nil {
			assigned[c.GetId()]++
		}
		if c := cmd.GetJobFinish(); c != nil {
			finished[c.GetFence().GetJobId()]++
		}
		return nil
	})
	for i := range 2 {
		b.start(func(c *runner.Config) {
			c.Slots = 8
			c.Client.(*cluster).at = i
		})
	}
	client := b.client(0)
	var all []string
	for range count {
		answer, err := client.Submit(context.Background(), &jobpb.SubmitRequest{Spec: &jobpb.Spec{Operation: jobpb.Operation_OPERATION_NOOP}})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, answer.GetJob().GetId())
	}
	for _, id := range all {
		if job := b.ended(id, jobpb.State_STATE_SUCCEEDED); job.GetAttempt() != 1 {
			t.Errorf("job %s had %d attempts", id, job.GetAttempt())
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, id := range all {
		if assigned[id] != 1 || finished[id] != 1 {
			t.Errorf("job %s was assigned %d times and ended %d times", id, assigned[id], finished[id])
		}
	}
	for _, r := range b.Store.Read().Runners() {
		if r.GetState() != runnerpb.State_STATE_ATTACHED {
			t.Errorf("runner is %v", r)
		}
	}
}
