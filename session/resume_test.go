package session_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/commandpb"
	"waypoint/api/entrypointpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/rpc/rpctest"
	"waypoint/session"
	"waypoint/session/sessiontest"
)

func resumableOf(instance string) *execpb.Open {
	open := openOf(instance)
	open.Resumable, open.TokenId, open.Subject = true, "token-a", "alice"
	return open
}

// resumed is what resumes the session of open.
func resumed(open *execpb.Open) *execpb.Open {
	again := resumableOf(open.GetInstanceId())
	again.SessionId, again.Resume = open.GetSessionId(), &execpb.Resume{Stdout: 3}
	return again
}

func opened(t *testing.T, stream entrypointpb.Entrypoint_ExecClient, s *side) {
	t.Helper()
	out := &execpb.Output{Kind: &execpb.Output_Opened{Opened: &execpb.Opened{Pid: 9, Resumable: true}}}
	if err := stream.Send(&entrypointpb.ExecUp{Output: out}); err != nil {
		t.Fatal(err)
	}
	if out := <-s.out; out.GetOpened().GetPid() != 9 {
		t.Fatalf("got %v, want opened", out)
	}
}

// record waits until the record of a session is as it should be.
func record(t *testing.T, f *rpctest.Fixture, id, what string, good func(*execpb.Session) bool) *execpb.Session {
	t.Helper()
	var row *execpb.Session
	wait.For(t, patience, what, func() bool {
		row = f.Store.Read().ExecSession(id)
		return good(row)
	})
	return row
}

func attachedTo(t *testing.T, change func(*session.InstancesConfig)) (*rpctest.Fixture, *sessiontest.Node, *sessiontest.Entrypoint) {
	t.Helper()
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, change)
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{})
	e.Welcome()
	e.Config()
	return f, n, e
}

func TestResumableSessionIsNotClosedWhenItsCallerIsLost(t *testing.T) {
	f, n, e := attachedTo(t, nil)
	open := resumableOf(e.ID)
	s := run(t, n, open)
	stream, got := e.TakeExec()
	if !got.GetResumable() || got.GetTokenId() != "token-a" {
		t.Errorf("open %v", got)
	}
	opened(t, stream, s)
	running := record(t, f, open.GetSessionId(), "the beginning to be recorded", func(r *execpb.Session) bool { return r != nil })
	if running.GetSubject() != "alice" || running.GetArgv()[0] != "sh" || running.GetNodeId() != n.ID || running.GetDeploymentId() == "" || running.GetApp().GetApp() != "web" {
		t.Errorf("the record is %v", running)
	}
	s.leave()
	if in, err := stream.Recv(); err == nil {
		t.Errorf("instance got %v", in)
	}
	record(t, f, open.GetSessionId(), "that the end is not known", func(r *execpb.Session) bool { return r.GetEndedAt() != nil && r.GetExit() == nil })

	later := run(t, n, resumed(open))
	stream, got = e.TakeExec()
	if got.GetResume().GetStdout() != 3 {
		t.Errorf("open %v", got)
	}
	opened(t, stream, later)
	record(t, f, open.GetSessionId(), "that it goes on", func(r *execpb.Session) bool { return r.GetEndedAt() == nil })
	if err := exit(stream, 5); err != nil {
		t.Fatal(err)
	}
	if out := <-later.out; out.GetExit().GetCode() != 5 {
		t.Errorf("got %v", out)
	}
	later.in <- &execpb.Input{Kind: &execpb.Input_Ack{Ack: &execpb.Ack{Exit: true}}}
	if in, err := stream.Recv(); err != nil || !in.GetAck().GetExit() {
		t.Errorf("instance got %v, %v", in, err)
	}
	if err := later.end(t); err != nil {
		t.Errorf("session ended with %v", err)
	}
	record(t, f, open.GetSessionId(), "the exit to be recorded", func(r *execpb.Session) bool { return r.GetExit().GetCode() == 5 && r.GetError() == "" })
}

func TestWhoResumesTakesTheSessionOver(t *testing.T) {
	_, n, e := attachedTo(t, nil)
	open := resumableOf(e.ID)
	s := run(t, n, open)
	stream, _ := e.TakeExec()
	opened(t, stream, s)

	foreign := resumed(open)
	foreign.TokenId = "token-b"
	if err := run(t, n, foreign).end(t); !errs.Is(err, errs.PermissionDenied) {
		t.Errorf("another token: %v", err)
	}
	later := run(t, n, resumed(open))
	if err := s.end(t); !errs.Is(err, errs.Canceled) || !strings.Contains(err.Error(), "goes on over another connection") {
		t.Errorf("the older one ended with %v", err)
	}
	stream, _ = e.TakeExec()
	opened(t, stream, later)
	later.in <- &execpb.Input{Kind: &execpb.Input_Close{Close: true}}
	if in, err := stream.Recv(); err != nil || !in.GetClose() {
		t.Errorf("instance got %v, %v", in, err)
	}
}

func TestLeavingNodeLetsGoOfSessionsThatMayMove(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	a, b := sessiontest.NewNode(t, f, nil), sessiontest.NewNode(t, f, nil)
	attach := func(n *sessiontest.Node, id string, generation uint64) *sessiontest.Entrypoint {
		e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{InstanceId: id, Generation: generation})
		e.Welcome()
		e.Config()
		return e
	}
	e := attach(a, ids.New(), 1)
	moving, staying := resumableOf(e.ID), openOf(e.ID)
	first := run(t, a, moving)
	stream, _ := e.TakeExec()
	opened(t, stream, first)
	plain := run(t, a, staying)
	plainStream, _ := e.TakeExec()
	opened(t, plainStream, plain)

	drained := make(chan int, 1)
	go func() { drained <- a.Drain(t.Context()) }()
	if move := e.Recv().GetMove(); move == nil {
		t.Fatal("the instance is not asked to move")
	}
	next := attach(b, e.ID, 2)
	e.Drop()
	if err := first.end(t); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "moved") {
		t.Errorf("session ended with %v", err)
	}
	if left := <-drained; left != 0 {
		t.Errorf("%d instances are left", left)
	}
	later := run(t, b, resumed(moving))
	stream, _ = next.TakeExec()
	opened(t, stream, later)
	record(t, f, moving.GetSessionId(), "the session to be recorded at its new home", func(r *execpb.Session) bool {
		return r.GetNodeId() == b.ID && r.GetEndedAt() == nil
	})
	if err := exit(plainStream, 1); err != nil { // it is still carried
		t.Fatal(err)
	}
	if out := <-plain.out; out.GetExit().GetCode() != 1 {
		t.Errorf("got %v", out)
	}
}

func TestSessionGoesOnAtOnceWhenItsInstanceAttachesAnew(t *testing.T) {
	for _, name := range []string{"here", "elsewhere"} {
		t.Run(name, func(t *testing.T) {
			f := rpctest.New(t)
			_, token := sessiontest.Deploy(f)
			a, b := sessiontest.NewNode(t, f, nil), sessiontest.NewNode(t, f, nil)
			to := map[string]*sessiontest.Node{"here": a, "elsewhere": b}[name]
			attach := func(n *sessiontest.Node, id string, generation uint64) *sessiontest.Entrypoint {
				e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{InstanceId: id, Generation: generation})
				e.Welcome()
				e.Config()
				return e
			}
			e := attach(a, ids.New(), 1)
			moving, staying := resumableOf(e.ID), openOf(e.ID)
			first := run(t, a, moving)
			stream, _ := e.TakeExec()
			opened(t, stream, first)
			plain := run(t, a, staying)
			plainStream, _ := e.TakeExec()
			opened(t, plainStream, plain)

			next := attach(to, e.ID, 2) // the older connection stands
			if err := first.end(t); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "moved") {
				t.Errorf("session ended with %v", err)
			}
			later := run(t, to, resumed(moving))
			stream, _ = next.TakeExec()
			opened(t, stream, later)
			if err := exit(plainStream, 1); err != nil {
				t.Fatal(err)
			}
			if out := <-plain.out; out.GetExit().GetCode() != 1 {
				t.Errorf("got %v", out)
			}
		})
	}
}

// unready refuses everything until it is ready.
type unready struct {
	*rpctest.Fixture
	mu    sync.Mutex
	ready bool
	tries []*commandpb.Command
}

func (u *unready) Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error) {
	u.mu.Lock()
	ready := u.ready
	u.tries = append(u.tries, cmd)
	u.mu.Unlock()
	if !ready {
		return nil, errs.New(errs.Unavailable, "no leader")
	}
	return u.Fixture.Apply(ctx, cmd)
}

func TestSessionsDoNotWaitForTheirRecords(t *testing.T) {
	var late *unready
	f, n, e := attachedTo(t, func(c *session.InstancesConfig) {
		late = &unready{Fixture: c.Applier.(*rpctest.Fixture)}
		c.Applier = late
	})
	open := resumableOf(e.ID)
	open.Argv = []string{"sh", strings.Repeat("é", 4<<10)}
	s := run(t, n, open)
	stream, _ := e.TakeExec()
	opened(t, stream, s)
	if err := exit(stream, 0); err != nil {
		t.Fatal(err)
	}
	if out := <-s.out; out.GetExit() == nil {
		t.Errorf("got %v", out)
	}
	s.leave()
	_ = s.end(t) // that the exit has been passed on, or that its caller has left
	if row := f.Store.Read().ExecSession(open.GetSessionId()); row != nil {
		t.Fatalf("there is a record already: %v", row)
	}
	// A try that was given up may come late, so all tries are one request.
	starts := func() (list []*commandpb.Command) {
		late.mu.Lock()
		defer late.mu.Unlock()
		for _, cmd := range late.tries {
			if cmd.GetExecStart() != nil {
				list = append(list, cmd)
			}
		}
		return list
	}
	wait.For(t, patience, "two tries to record it", func() bool { return len(starts()) >= 2 })
	if tries := starts(); tries[0].GetRequestId() == "" || tries[0].GetRequestId() != tries[1].GetRequestId() || tries[0].GetExecStart().GetResumed() {
		t.Errorf("tried %v, then %v", tries[0], tries[1])
	}
	late.mu.Lock()
	late.ready = true
	late.mu.Unlock()
	row := record(t, f, open.GetSessionId(), "the session to be recorded", func(r *execpb.Session) bool { return r.GetExit() != nil })
	if !row.GetArgvCut() || len(row.GetArgv()) != 2 || len(row.GetArgv()[0])+len(row.GetArgv()[1]) > 4<<10 {
		t.Errorf("the record has %d bytes of arguments", len(row.GetArgv()[1]))
	}
}

func TestAnotherSessionWithAKnownIDIsNotRecordedAsThatOne(t *testing.T) {
	var logged wait.Buffer
	f, n, e := attachedTo(t, func(c *session.InstancesConfig) {
		c.Logger = hclog.New(&hclog.LoggerOptions{Output: &logged, Level: hclog.Warn})
	})
	open := resumableOf(e.ID)
	for code := range int32(2) {
		s := run(t, n, open)
		stream, _ := e.TakeExec()
		opened(t, stream, s)
		if err := exit(stream, code); err != nil {
			t.Fatal(err)
		}
		if out := <-s.out; out.GetExit().GetCode() != code {
			t.Errorf("got %v", out)
		}
		s.leave()
		_ = s.end(t) // that the exit has been passed on, or that its caller has left
		record(t, f, open.GetSessionId(), "the first session", func(r *execpb.Session) bool { return r.GetExit() != nil })
		open.Argv = []string{"rm", "-r"}
	}
	wait.For(t, patience, "a word of the second session", func() bool {
		return strings.Contains(logged.String(), "an exec session is not recorded") && strings.Contains(logged.String(), "rm")
	})
	if row := f.Store.Read().ExecSession(open.GetSessionId()); row.GetExit().GetCode() != 0 || row.GetArgv()[0] != "sh" {
		t.Errorf("the record is %v", row)
	}
}
