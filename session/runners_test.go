package session_test

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/nodepb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/rpc/rpctest"
	"waypoint/session"
)

const runnersPatience = 20 * time.Second

// runnersBench is a registry over a real state, and the leader's commands by hand.
type runnersBench struct {
	*rpctest.Fixture
	*testing.T
	runners *session.Runners
	token   string      // id
	offline atomic.Bool // commands fail
}

func newRunnersBench(t *testing.T) *runnersBench {
	b := &runnersBench{Fixture: rpctest.New(t), T: t}
	row, _ := b.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "r")
	b.token = row.GetId()
	b.OnApply(func(cmd *commandpb.Command) error {
		if b.offline.Load() && cmd.GetTerm() == 0 {
			return errs.New(errs.Unavailable, "no quorum")
		}
		return nil
	})
	b.runners = session.NewRunners(session.RunnersConfig{
		NodeID: b.NodeID, BootID: b.BootID, Store: b.Store, Applier: b.Fixture,
		RenewLeases: func(_ context.Context, renewals []*nodepb.Renewal) ([]bool, error) {
			return make([]bool, len(renewals)), nil
		},
		Servers: b.Servers, OtherServers: b.Servers,
	})
	b.background(func(ctx context.Context) { _ = b.runners.Run(ctx) })
	return b
}

func (b *runnersBench) background(fn func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { fn(ctx) })
	stop = func() { cancel(); wg.Wait() }
	b.Cleanup(stop)
	return stop
}

// runnerEnd is the runner's end of a stream in memory.
type runnerEnd struct {
	*runnersBench
	ctx    context.Context
	up     chan *runnerpb.Up
	down   chan *runnerpb.Down
	result chan error
	hangUp func()
}

func (e *runnerEnd) Send(d *runnerpb.Down) error {
	select {
	case e.down <- d:
		return nil
	case <-e.ctx.Done():
		return e.ctx.Err()
	}
}

func (e *runnerEnd) Recv() (*runnerpb.Up, error) {
	select {
	case up := <-e.up:
		return up, nil
	case <-e.ctx.Done():
		return nil, io.EOF
	}
}

// connect opens a stream and says hello.
func (b *runnersBench) connect(hello *runnerpb.Hello, token string) *runnerEnd {
	e := &runnerEnd{
		runnersBench: b, up: make(chan *runnerpb.Up, 100), down: make(chan *runnerpb.Down, 100), result: make(chan error, 1),
	}
	ready := make(chan struct{})
	e.hangUp = b.background(func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		e.ctx = ctx
		close(ready)
		e.result <- b.runners.Session(ctx, e, session.RunnerCaller{TokenID: token})
	})
	<-ready
	e.up <- &runnerpb.Up{Kind: &runnerpb.Up_Hello{Hello: hello}}
	return e
}

func (e *runnerEnd) next() *runnerpb.Down {
	e.Helper()
	select {
	case d := <-e.down:
		return d
	case err := <-e.result:
		e.Fatalf("the stream has ended: %v", err)
	case <-time.After(runnersPatience):
		e.Fatal("nothing comes from the node")
	}
	return nil
}

func (e *runnerEnd) ended() error {
	e.Helper()
	select {
	case err := <-e.result:
		return err
	case <-time.After(runnersPatience):
		e.Fatal("the stream does not end")
		return nil
	}
}

func helloOf(id string, generation uint64, works ...*deploymentpb.Fence) *runnerpb.Hello {
	h := &runnerpb.Hello{Runner: &runnerpb.Runner{Id: id, Name: "r", Slots: 2, Generation: generation}}
	for _, f := range works {
		h.Work = append(h.Work, &runnerpb.Work{Fence: f})
	}
	return h
}

// job submits a job and, as the leader, gives it to a runner.
func (b *runnersBench) job(runnerID string) *deploymentpb.Fence {
	b.Helper()
	id := ids.New()
	b.Do(&commandpb.Command_JobSubmit{JobSubmit: &commandpb.JobSubmit{
		Id: id, Spec: &jobpb.Spec{Operation: jobpb.Operation_OPERATION_NOOP},
	}})
	return b.assign(id, runnerID)
}

func (b *runnersBench) assign(id, runnerID string) *deploymentpb.Fence {
	b.Helper()
	var result *commandpb.Result
	wait.For(b.T, runnersPatience, "the runner to be recorded as attached", func() bool {
		var err error
		result, err = b.Apply(context.Background(), &commandpb.Command{
			Term: 1, Kind: &commandpb.Command_JobAssign{JobAssign: &commandpb.JobAssign{Id: id, RunnerId: runnerID}},
		})
		return err == nil
	})
	return &deploymentpb.Fence{JobId: id, Attempt: uint32(result.GetVersion())}
}

func (b *runnersBench) expire(f *deploymentpb.Fence) {
	b.Helper()
	b.lead(&commandpb.Command{Kind: &commandpb.Command_JobExpire{JobExpire: &commandpb.JobExpire{Fence: f}}})
}

func (b *runnersBench) lead(cmd *commandpb.Command) *commandpb.Result {
	b.Helper()
	cmd.Term = 1
	result, err := b.Apply(context.Background(), cmd)
	if err != nil {
		b.Fatal(err)
	}
	return result
}

func finishOf(f *deploymentpb.Fence) *runnerpb.Up {
	return &runnerpb.Up{Kind: &runnerpb.Up_Finish{Finish: &runnerpb.Finish{Fence: f, State: jobpb.State_STATE_SUCCEEDED}}}
}

func outputOf(f *deploymentpb.Fence, text string) *runnerpb.Up {
	return &runnerpb.Up{Kind: &runnerpb.Up_Output{Output: &runnerpb.Output{Fence: f, Data: []byte(text)}}}
}

func TestRunnerIsWelcomedWithoutAQuorumAndRecordedLater(t *testing.T) {
	b := newRunnersBench(t)
	b.offline.Store(true)
	id := ids.New()
	if e := b.connect(helloOf(id, 1), b.token); e.next().GetWelcome() == nil {
		t.Fatal("no welcome")
	}
	if b.Store.Read().Runner(id) != nil {
		t.Error("the row is there without a quorum")
	}
	b.offline.Store(false)
	wait.For(t, runnersPatience, "the row", func() bool { return b.Store.Read().Runner(id) != nil })
}

func TestWorkIsHandedOutOncePerStreamAndNotToWhoHasIt(t *testing.T) {
	b := newRunnersBench(t)
	id := ids.New()
	e := b.connect(helloOf(id, 1), b.token)
	e.next()
	one := b.job(id)
	if got := e.next().GetAssign().GetJob(); got.GetId() != one.GetJobId() || got.GetAttempt() != 1 {
		t.Fatalf("assigned %v", got)
	}
	two := b.job(id)
	if got := e.next().GetAssign().GetJob().GetId(); got != two.GetJobId() {
		t.Fatalf("assigned %v", got)
	}
	e.hangUp()
	e = b.connect(helloOf(id, 2, two), b.token)
	if resume := e.next().GetWelcome().GetResume(); len(resume) != 1 || resume[0].GetFence().GetJobId() != two.GetJobId() {
		t.Errorf("resume is %v", resume)
	}
	if got := e.next().GetAssign().GetJob().GetId(); got != one.GetJobId() {
		t.Errorf("assigned %v, the runner has lost the first", got)
	}
}

func TestEndIsRecordedAndAnswered(t *testing.T) {
	b := newRunnersBench(t)
	id := ids.New()
	e := b.connect(helloOf(id, 1), b.token)
	e.next()
	f := b.job(id)
	e.next()
	e.up <- finishOf(f)
	if got := e.next().GetFinished(); got.GetFence().GetJobId() != f.GetJobId() || got.GetError() != "" {
		t.Errorf("answer is %v", got)
	}
	if got := b.Store.Read().Job(f.GetJobId()).GetState(); got != jobpb.State_STATE_SUCCEEDED {
		t.Errorf("job is %s", got)
	}
	e.hangUp()
	// The answer was lost: the runner says it again elsewhere.
	e = b.connect(helloOf(id, 2, f), b.token)
	e.next()
	e.up <- finishOf(f)
	for d := e.next(); d.GetFinished() == nil; d = e.next() {
		if d.GetCancel() == nil {
			t.Errorf("unexpected %v", d)
		}
	}
}

func TestAttemptThatIsOverIsCancelled(t *testing.T) {
	b := newRunnersBench(t)
	id := ids.New()
	e := b.connect(helloOf(id, 1), b.token)
	e.next()
	f := b.job(id)
	e.next()
	b.expire(f)
	if got := e.next().GetCancel(); got.GetFence().GetJobId() != f.GetJobId() || got.GetFence().GetAttempt() != 1 {
		t.Errorf("cancel is %v", got)
	}
	e.up <- finishOf(f)
	if got := e.next().GetFinished(); got.GetError() == "" {
		t.Errorf("the end of a stale attempt is answered by %v", got)
	}
	again := b.assign(f.GetJobId(), id)
	if got := e.next().GetAssign().GetJob().GetAttempt(); got != again.GetAttempt() {
		t.Errorf("assigned attempt %d", got)
	}
}

func TestWorkThatThisNodeDoesNotKnowYetIsLeftAlone(t *testing.T) {
	b := newRunnersBench(t)
	id := ids.New()
	e := b.connect(helloOf(id, 1), b.token)
	e.next()
	f := b.job(id)
	e.hangUp()
	// As a node that lags sees it: the runner comes with a later attempt.
	ahead := &deploymentpb.Fence{JobId: f.GetJobId(), Attempt: 2}
	e = b.connect(helloOf(id, 2, ahead), b.token)
	if e.next().GetWelcome() == nil {
		t.Fatal("no welcome")
	}
	e.up <- outputOf(ahead, "early")
	if got := e.next().GetAssign().GetJob().GetAttempt(); got != 1 {
		t.Errorf("assigned attempt %d", got)
	}
	b.expire(f)
	if got := e.next().GetCancel().GetFence().GetAttempt(); got != 1 {
		t.Errorf("attempt %d is cancelled", got)
	}
	b.assign(f.GetJobId(), id)
	var text string
	wait.For(t, runnersPatience, "the output", func() bool {
		_ = b.runners.JobOutput(context.Background(), ahead, 0, func(out *nodepb.JobOutputResponse) error {
			text += string(out.GetData())
			return io.EOF
		})
		return text != ""
	})
	if text != "early" {
		t.Errorf("output is %q", text)
	}
}

func TestRunnersCannotTouchEachOthersWork(t *testing.T) {
	b := newRunnersBench(t)
	honest, liar := ids.New(), ids.New()
	e := b.connect(helloOf(honest, 1), b.token)
	e.next()
	f := b.job(honest)
	e.next()
	e.up <- outputOf(f, "true")
	l := b.connect(helloOf(liar, 1, f), b.token)
	l.next()
	l.up <- outputOf(f, "false, and longer")
	l.up <- finishOf(f)
	if d := l.next(); d.GetCancel() == nil && d.GetFinished().GetError() == "" {
		t.Errorf("the liar hears %v", d)
	}
	if got := b.Store.Read().Job(f.GetJobId()).GetState(); got != jobpb.State_STATE_RUNNING {
		t.Errorf("job is %s", got)
	}
	var text string
	wait.For(t, runnersPatience, "the output", func() bool {
		_ = b.runners.JobOutput(context.Background(), f, 0, func(out *nodepb.JobOutputResponse) error {
			text = string(out.GetData())
			return io.EOF
		})
		return text != ""
	})
	if text != "true" {
		t.Errorf("output is %q", text)
	}
	row, _ := b.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "thief")
	if err := b.connect(helloOf(honest, 2), row.GetId()).ended(); !errs.Is(err, errs.PermissionDenied) {
		t.Errorf("a runner under another token: %v", err)
	}
}

func TestNewerStreamOfARunnerWins(t *testing.T) {
	b := newRunnersBench(t)
	id := ids.New()
	first := b.connect(helloOf(id, 1), b.token)
	first.next()
	second := b.connect(helloOf(id, 2), b.token)
	second.next()
	if err := first.ended(); !errs.Is(err, errs.StaleAttempt) {
		t.Errorf("the older stream ends with %v", err)
	}
	if err := b.connect(helloOf(id, 1), b.token).ended(); !errs.Is(err, errs.StaleAttempt) {
		t.Errorf("a late stream ends with %v", err)
	}
	wait.For(t, runnersPatience, "the newer row", func() bool { return b.Store.Read().Runner(id).GetGeneration() == 2 })
	second.up <- &runnerpb.Up{Kind: &runnerpb.Up_Goodbye{Goodbye: &runnerpb.Goodbye{}}}
	if err := second.ended(); err != nil {
		t.Errorf("goodbye ends the stream with %v", err)
	}
	wait.For(t, runnersPatience, "the row to go", func() bool { return b.Store.Read().Runner(id) == nil })
}

func TestRunnerThatVanishesIsDetached(t *testing.T) {
	b := newRunnersBench(t)
	id := ids.New()
	e := b.connect(helloOf(id, 1), b.token)
	e.next()
	wait.For(t, runnersPatience, "the row", func() bool { return b.Store.Read().Runner(id) != nil })
	e.hangUp()
	wait.For(t, runnersPatience, "the row to say so", func() bool {
		return b.Store.Read().Runner(id).GetState() == runnerpb.State_STATE_DETACHED
	})
}

func TestMalformedHelloIsRefused(t *testing.T) {
	b := newRunnersBench(t)
	for _, hello := range []*runnerpb.Hello{{}, helloOf("x", 1), helloOf(ids.New(), 0)} {
		if err := b.connect(hello, b.token).ended(); !errs.Is(err, errs.Invalid) {
			t.Errorf("%v: %v", hello, err)
		}
	}
}
