package jobs_test

import (
	"context"
	"errors"

	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/api/jobpb"
	"waypoint/api/nodepb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/jobs"
	"waypoint/rpc/rpctest"
	"waypoint/state"
)

const patience = 20 * time.Second

// bench is a state with a leader.
type bench struct {
	*rpctest.Fixture
	*testing.T
	jobs *jobs.Jobs
}

type leader struct {
	*rpctest.Fixture
	failures *atomic.Int64 // how many commands fail first
}

func (l leader) Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, errs.New(errs.Unavailable, "no quorum")
	}
	cmd.Term = 1
	return l.Fixture.Apply(ctx, cmd)
}

func newBench(t *testing.T, config jobs.Config) *bench {
	b := &bench{Fixture: rpctest.New(t), T: t}
	config.Store = b.Store
	b.jobs = jobs.New(config)
	return b
}

// lead runs the task until the returned function or the test's end.
func (b *bench) lead(failures *atomic.Int64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.jobs.Run(ctx, leader{b.Fixture, failures}); !errors.Is(err, context.Canceled) {
			b.Errorf("run: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	b.Cleanup(stop)
	return stop
}

func (b *bench) attach(name string, change func(*runnerpb.Runner)) string {
	b.Helper()
	r := &runnerpb.Runner{Id: ids.New(), Name: name, Host: "h", Slots: 1, NodeId: b.NodeID, NodeBoot: b.BootID, Generation: 1}
	if change != nil {
		change(r)
	}
	b.Do(&commandpb.Command_RunnerAttach{RunnerAttach: &commandpb.RunnerAttach{Runner: r}})
	return r.GetId()
}

func (b *bench) submit(target *jobpb.Target) string {
	b.Helper()
	id := ids.New()
	b.Do(&commandpb.Command_JobSubmit{JobSubmit: &commandpb.JobSubmit{
		Id: id, Spec: &jobpb.Spec{Operation: jobpb.Operation_OPERATION_NOOP, Target: target},
	}})
	return id
}

func (b *bench) job(id string) *jobpb.Job { return b.Store.Read().Job(id) }

func (b *bench) running(id string) *jobpb.Job {
	b.Helper()
	wait.For(b.T, patience, "the job to run", func() bool { return b.job(id).GetState() == jobpb.State_STATE_RUNNING })
	return b.job(id)
}

func (b *bench) finish(job *jobpb.Job) {
	b.Helper()
	b.Do(&commandpb.Command_JobFinish{JobFinish: &commandpb.JobFinish{
		Fence: fenceOf(job), State: jobpb.State_STATE_SUCCEEDED,
	}})
}

func fenceOf(job *jobpb.Job) *deploymentpb.Fence {
	return &deploymentpb.Fence{JobId: job.GetId(), Attempt: job.GetAttempt()}
}

func renewal(job *jobpb.Job) []*nodepb.Renewal {
	return []*nodepb.Renewal{{Fence: fenceOf(job), RunnerId: job.GetRunnerId()}}
}

func TestOldestJobIsTakenFirstAndWorkIsSpread(t *testing.T) {
	b := newBench(t, jobs.Config{})
	first, second, third := b.submit(nil), b.submit(nil), b.submit(nil)
	one, two := b.attach("one", nil), b.attach("two", nil)
	b.lead(new(atomic.Int64))
	a, c := b.running(first), b.running(second)
	if a.GetRunnerId() == c.GetRunnerId() {
		t.Errorf("both jobs are with %s of %s and %s", a.GetRunnerId(), one, two)
	}
	if got := b.job(third).GetState(); got != jobpb.State_STATE_QUEUED {
		t.Errorf("the third job is %s", got)
	}
	b.finish(a)
	if got := b.running(third).GetRunnerId(); got != a.GetRunnerId() {
		t.Errorf("the third job is with %s", got)
	}
}

func TestTargetsAreKept(t *testing.T) {
	b := newBench(t, jobs.Config{})
	b.attach("plain", func(r *runnerpb.Runner) { r.Slots = 10 })
	host := b.attach("host", func(r *runnerpb.Runner) { r.Host = "far"; r.Slots = 10 })
	label := b.attach("label", func(r *runnerpb.Runner) { r.Labels = map[string]string{"gpu": "yes"}; r.Slots = 10 })
	local := b.attach("local", func(r *runnerpb.Runner) { r.Local = true; r.Slots = 10 })
	b.lead(new(atomic.Int64))
	for want, target := range map[string]*jobpb.Target{
		host: {Host: "far"}, label: {Labels: map[string]string{"gpu": "yes"}}, local: {RunnerId: local},
	} {
		if got := b.running(b.submit(target)).GetRunnerId(); got != want {
			t.Errorf("%v went to %s", target, b.Store.Read().Runner(got).GetName())
		}
	}
	for range 12 {
		if got := b.running(b.submit(nil)).GetRunnerId(); got == local {
			t.Error("a local runner took what is not aimed at it")
		}
	}
}

func TestRenewedLeaseGoesOnAndAnotherEnds(t *testing.T) {
	b := newBench(t, jobs.Config{Lease: 400 * time.Millisecond, Margin: 50 * time.Millisecond})
	b.attach("r", func(r *runnerpb.Runner) { r.Slots = 2 })
	b.lead(new(atomic.Int64))
	kept, lost := b.running(b.submit(nil)), b.running(b.submit(nil))
	wait.For(t, patience, "the lost attempt to be given again", func() bool {
		if granted := b.jobs.Renew(b.Context(), renewal(kept)); !granted[0] {
			t.Fatal("the renewal is refused")
		}
		return b.job(lost.GetId()).GetAttempt() == 2
	})
	if got := b.job(kept.GetId()); got.GetAttempt() != 1 || got.GetState() != jobpb.State_STATE_RUNNING {
		t.Errorf("the renewed job is %v", got)
	}
	if granted := b.jobs.Renew(b.Context(), renewal(lost)); granted[0] {
		t.Error("the lease of a stale attempt is renewed")
	}
	stranger := renewal(kept)
	stranger[0].RunnerId = "another"
	if granted := b.jobs.Renew(b.Context(), stranger); granted[0] {
		t.Error("the lease is renewed for another runner")
	}
}

func TestNewLeaderStartsLeasesAfreshAndOthersSayNothing(t *testing.T) {
	b := newBench(t, jobs.Config{})
	b.attach("r", nil)
	if b.jobs.Renew(b.Context(), nil) != nil {
		t.Error("a node that does not lead answers")
	}
	stop := b.lead(new(atomic.Int64))
	job := b.running(b.submit(nil))
	stop()
	if b.jobs.Renew(b.Context(), renewal(job)) != nil {
		t.Error("a node that does not lead any more answers")
	}
	b.lead(new(atomic.Int64))
	wait.For(t, patience, "the new leader's answer", func() bool {
		granted := b.jobs.Renew(b.Context(), renewal(job))
		return len(granted) == 1 && granted[0]
	})
}

func TestFailedCommandsAreTriedAgain(t *testing.T) {
	b := newBench(t, jobs.Config{})
	var failures atomic.Int64
	failures.Store(1)
	b.attach("r", nil)
	id := b.submit(nil)
	b.lead(&failures)
	b.running(id)
	if failures.Load() >= 0 {
		t.Error("nothing has failed")
	}
}

func TestOldRowsArePruned(t *testing.T) {
	b := newBench(t, jobs.Config{PruneEvery: 10 * time.Millisecond, JobsKeep: 2})
	b.attach("r", nil)
	b.lead(new(atomic.Int64))
	for range 4 {
		b.finish(b.running(b.submit(nil)))
	}
	wait.For(t, patience, "two jobs to be left", func() bool { return len(b.Store.Read().Jobs(jobsAll())) == 2 })
}

func TestOldRecordsOfExecSessionsArePruned(t *testing.T) {
	b := newBench(t, jobs.Config{PruneEvery: 10 * time.Millisecond, SessionsKeep: 2})
	for range 4 {
		_, err := b.Apply(t.Context(), &commandpb.Command{RequestId: ids.New(), TokenId: "node:" + b.NodeID, Kind: &commandpb.Command_ExecStart{
			ExecStart: &commandpb.ExecStart{Session: &execpb.Session{Id: ids.New(), InstanceId: "i"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	b.lead(new(atomic.Int64))
	wait.For(t, patience, "two records to be left", func() bool { return len(b.Store.Read().ExecSessions(nil, "", false, 0)) == 2 })
}

func TestWaitingSaysWhy(t *testing.T) {
	b := newBench(t, jobs.Config{})
	check := func(target *jobpb.Target, want string) {
		t.Helper()
		tx := b.Store.Read()
		got := jobs.Waiting(tx, &jobpb.Job{State: jobpb.State_STATE_QUEUED, Spec: &jobpb.Spec{Target: target}})
		if got != want {
			t.Errorf("target %v waits: %q, want %q", target, got, want)
		}
	}
	check(nil, "no runner is attached")
	check(&jobpb.Target{RunnerId: "X"}, "runner X, which it is for, is not attached")
	local := b.attach("cli", func(r *runnerpb.Runner) { r.Local = true })
	check(nil, "no runner is attached")
	check(&jobpb.Target{RunnerId: local}, "")
	b.attach("one", nil)
	check(nil, "")
	check(&jobpb.Target{Host: "far"}, "no runner on host far is attached")
	check(&jobpb.Target{Labels: map[string]string{"b": "2", "a": "1"}}, "no runner with label a=1, b=2 is attached")
	b.lead(new(atomic.Int64))
	b.running(b.submit(nil))
	check(nil, "the only runner for it, one, is busy")
	b.attach("two", nil)
	b.running(b.submit(nil))
	check(nil, "all 2 runners are busy")
	if got := jobs.Waiting(b.Store.Read(), &jobpb.Job{State: jobpb.State_STATE_RUNNING}); got != "" {
		t.Errorf("a running job waits: %q", got)
	}
}

func jobsAll() state.JobFilter { return state.JobFilter{} }
