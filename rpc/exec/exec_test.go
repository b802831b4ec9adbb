package exec_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"waypoint/api/entrypointpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/rpc/exec"
	"waypoint/rpc/rpctest"
	"waypoint/session/sessiontest"
)

const patience = 10 * time.Second

// cluster is two nodes over one state. Callers call the first one.
type cluster struct {
	f     *rpctest.Fixture
	a, b  *sessiontest.Node
	peers *sessiontest.Peers
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{f: rpctest.New(t), peers: &sessiontest.Peers{}}
	c.b = sessiontest.NewNode(t, c.f, nil)
	c.a = sessiontest.NewNode(t, c.f, nil, func(n *sessiontest.Node) rpctest.Service {
		return exec.New(exec.Config{Reader: c.f.Reader(), NodeID: n.ID, Local: n, Peer: c.peers.Peer})
	})
	c.peers.Connect(c.b, c.a.ID)
	return c
}

func (c *cluster) attach(t *testing.T, n *sessiontest.Node, token, id string, generation uint64) *sessiontest.Entrypoint {
	t.Helper()
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{InstanceId: id, Generation: generation})
	e.Welcome()
	if e.Recv().GetConfig() == nil {
		t.Fatal("no config")
	}
	wait.For(t, patience, "instance to be recorded", func() bool { return c.f.Store.Read().Instance(e.ID).GetGeneration() == generation })
	return e
}

func (c *cluster) start(t *testing.T, open *execpb.Open) (execpb.Exec_StartClient, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	stream, err := execpb.NewExecClient(c.a.Server.Dial(c.f.User)).Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if open.GetArgv() == nil {
		open.Argv = []string{"sh"}
	}
	send(t, stream, &execpb.Input{Kind: &execpb.Input_Open{Open: open}})
	return stream, cancel
}

func send(t *testing.T, stream execpb.Exec_StartClient, in *execpb.Input) {
	t.Helper()
	if err := stream.Send(in); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func recv(t *testing.T, stream execpb.Exec_StartClient) *execpb.Output {
	t.Helper()
	out, err := stream.Recv()
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	return out
}

func reply(t *testing.T, stream entrypointpb.Entrypoint_ExecClient, out *execpb.Output) {
	t.Helper()
	if err := stream.Send(&entrypointpb.ExecUp{Output: out}); err != nil {
		t.Fatalf("reply: %v", err)
	}
}

func opened(e *sessiontest.Entrypoint) *execpb.Output {
	return &execpb.Output{Kind: &execpb.Output_Opened{Opened: &execpb.Opened{InstanceId: e.ID, Pid: 9}}}
}

// converse passes one message of each kind through a session and ends it.
func converse(t *testing.T, caller execpb.Exec_StartClient, instance entrypointpb.Entrypoint_ExecClient, e *sessiontest.Entrypoint) {
	t.Helper()
	reply(t, instance, opened(e))
	if out := recv(t, caller); out.GetOpened().GetInstanceId() != e.ID {
		t.Errorf("got %v, want opened", out)
	}
	send(t, caller, &execpb.Input{Kind: &execpb.Input_Ping{Ping: true}})
	if out := recv(t, caller); !out.GetPong() {
		t.Errorf("got %v, want pong", out)
	}
	send(t, caller, &execpb.Input{Kind: &execpb.Input_Stdin{Stdin: []byte("hello")}})
	send(t, caller, &execpb.Input{Kind: &execpb.Input_Size{Size: &execpb.WindowSize{Rows: 5, Columns: 7}}})
	send(t, caller, &execpb.Input{Kind: &execpb.Input_Signal{Signal: 2}})
	for _, want := range []func(*execpb.Input) bool{
		func(in *execpb.Input) bool { return string(in.GetStdin()) == "hello" },
		func(in *execpb.Input) bool { return in.GetSize().GetRows() == 5 },
		func(in *execpb.Input) bool { return in.GetSignal() == 2 },
	} {
		if in, err := instance.Recv(); err != nil || !want(in) {
			t.Errorf("instance got %v, %v", in, err)
		}
	}
	reply(t, instance, &execpb.Output{Kind: &execpb.Output_Stderr{Stderr: []byte("bye")}})
	reply(t, instance, &execpb.Output{Kind: &execpb.Output_Exit{Exit: &execpb.Exit{Code: 130}}})
	if out := recv(t, caller); string(out.GetStderr()) != "bye" {
		t.Errorf("got %v", out)
	}
	if out := recv(t, caller); out.GetExit().GetCode() != 130 {
		t.Errorf("got %v", out)
	}
	if _, err := caller.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("caller's stream ended with %v", err)
	}
}

func TestSessionReachesAnInstanceOnAnyNode(t *testing.T) {
	for _, name := range []string{"this node", "another node"} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			_, token := sessiontest.Deploy(c.f)
			home := map[string]*sessiontest.Node{"this node": c.a, "another node": c.b}[name]
			e := c.attach(t, home, token, "", 1)
			caller, _ := c.start(t, &execpb.Open{SessionId: ids.New(), InstanceId: e.ID, Tty: true, Term: "vt100"})
			instance, open := e.TakeExec()
			if !open.GetTty() || open.GetTerm() != "vt100" || open.GetApp().GetApp() != "web" {
				t.Errorf("open %v", open)
			}
			converse(t, caller, instance, e)
		})
	}
}

func TestAppStandsForAnInstanceOfItsNewestDeployment(t *testing.T) {
	c := newCluster(t)
	_, older := sessiontest.Deploy(c.f)
	c.attach(t, c.a, older, "", 1)
	_, newer := sessiontest.Deploy(c.f)
	caller, _ := c.start(t, &execpb.Open{App: sessiontest.Ref()})
	if _, err := caller.Recv(); !errs.Is(errs.FromStatus(err), errs.Unavailable) {
		t.Errorf("nothing of the newest is attached: %v", err)
	}
	e := c.attach(t, c.b, newer, "", 1)
	caller, _ = c.start(t, &execpb.Open{App: sessiontest.Ref()})
	instance, open := e.TakeExec()
	if open.GetSessionId() == "" || open.GetInstanceId() != e.ID {
		t.Errorf("open %v", open)
	}
	converse(t, caller, instance, e)
}

func TestSessionWaitsForAnInstanceThatMoves(t *testing.T) {
	c := newCluster(t)
	_, token := sessiontest.Deploy(c.f)
	old := c.attach(t, c.b, token, "", 1)
	c.b.Stop()
	caller, _ := c.start(t, &execpb.Open{InstanceId: old.ID})
	e := c.attach(t, c.a, token, old.ID, 2)
	instance, _ := e.TakeExec()
	converse(t, caller, instance, e)
}

func TestSessionGoesToAnotherInstanceIfOneCannotBeReached(t *testing.T) {
	c := newCluster(t)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.a, token, "", 1)
	c.attach(t, c.b, token, "", 1) // attached last: tried first
	c.b.Stop()
	caller, _ := c.start(t, &execpb.Open{App: sessiontest.Ref()})
	instance, _ := e.TakeExec()
	converse(t, caller, instance, e)
}

func TestCallerThatLeavesClosesTheSessionOnItsHome(t *testing.T) {
	c := newCluster(t)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.b, token, "", 1)
	caller, leave := c.start(t, &execpb.Open{InstanceId: e.ID})
	instance, _ := e.TakeExec()
	reply(t, instance, opened(e))
	recv(t, caller)
	leave()
	if in, err := instance.Recv(); err != nil || !in.GetClose() {
		t.Errorf("instance got %v, %v", in, err)
	}
}

func TestSessionEndsWithAClearErrorWhenItsHomeDies(t *testing.T) {
	c := newCluster(t)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.b, token, "", 1)
	caller, _ := c.start(t, &execpb.Open{InstanceId: e.ID})
	instance, _ := e.TakeExec()
	reply(t, instance, opened(e))
	recv(t, caller)
	c.b.Stop()
	if _, err := caller.Recv(); !errs.Is(errs.FromStatus(err), errs.Unavailable) {
		t.Errorf("ended with %v", err)
	}
}

func TestCommandIsNotStartedTwice(t *testing.T) {
	for _, name := range []string{"this node", "another node", "the connection"} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			_, token := sessiontest.Deploy(c.f)
			other := c.attach(t, c.a, token, "", 1)
			home := c.b
			if name == "this node" {
				home = c.a
			}
			e := c.attach(t, home, token, "", 1) // attached last: tried first
			caller, _ := c.start(t, &execpb.Open{App: sessiontest.Ref(), Resumable: true})
			_, open := e.TakeExec() // its answer is lost
			if name == "the connection" {
				c.b.Server.Stop()
			} else {
				home.StopInstances()
			}
			_, err := caller.Recv()
			if !errs.Is(errs.FromStatus(err), errs.OutcomeUnknown) || !strings.Contains(err.Error(), "may or may not have been started") {
				t.Errorf("ended with %v", err)
			}
			if name == "this node" {
				return
			}
			again, _ := c.start(t, &execpb.Open{InstanceId: other.ID})
			instance, next := other.TakeExec()
			if next.GetSessionId() == open.GetSessionId() {
				t.Error("another instance was to start it, too")
			}
			converse(t, again, instance, other)
		})
	}
}

func TestSessionOpensWithoutQuorum(t *testing.T) {
	c := newCluster(t)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.b, token, "", 1)
	c.f.OnFresh(func(context.Context) error { return errs.New(errs.Unavailable, "no leader") })
	caller, _ := c.start(t, &execpb.Open{InstanceId: e.ID})
	instance, _ := e.TakeExec()
	converse(t, caller, instance, e)
}

func TestWhatCannotBeOpenedIsRefused(t *testing.T) {
	c := newCluster(t)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.a, token, "", 1)
	e.Goodbye(3)
	wait.For(t, patience, "the end to be recorded", func() bool { return c.f.Store.Read().Instance(e.ID).GetExitCode() == 3 })
	old, ahead := ids.At(time.Now().Add(-6*time.Minute)), ids.At(time.Now().Add(6*time.Minute))
	for name, test := range map[string]struct {
		open *execpb.Open
		want errs.Kind
	}{
		"old id":   {&execpb.Open{InstanceId: e.ID, SessionId: old}, errs.Invalid},
		"ahead":    {&execpb.Open{InstanceId: e.ID, SessionId: ahead}, errs.Invalid},
		"bad id":   {&execpb.Open{InstanceId: e.ID, SessionId: "x"}, errs.Invalid},
		"unknown":  {&execpb.Open{InstanceId: ids.New()}, errs.NotFound},
		"ended":    {&execpb.Open{InstanceId: e.ID}, errs.Conflict},
		"nothing":  {&execpb.Open{}, errs.Invalid},
		"no argv":  {&execpb.Open{InstanceId: e.ID, Argv: []string{}}, errs.Invalid},
		"attached": {&execpb.Open{App: sessiontest.Ref()}, errs.Unavailable},
	} {
		caller, _ := c.start(t, test.open)
		if _, err := caller.Recv(); !errs.Is(errs.FromStatus(err), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
