package exec_test

import (
	"testing"

	"waypoint/api/entrypointpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/session/sessiontest"
)

func keeps(e *sessiontest.Entrypoint) *execpb.Output {
	out := opened(e)
	out.GetOpened().Resumable = true
	return out
}

// begin opens a resumable session in an instance.
func (c *cluster) begin(t *testing.T, e *sessiontest.Entrypoint) (execpb.Exec_StartClient, entrypointpb.Entrypoint_ExecClient, *execpb.Open) {
	t.Helper()
	asked := &execpb.Open{SessionId: ids.New(), InstanceId: e.ID, Resumable: true, TokenId: "forged", Subject: "forged"}
	caller, _ := c.start(t, asked)
	instance, open := e.TakeExec()
	reply(t, instance, keeps(e))
	recv(t, caller)
	return caller, instance, open
}

func resumed(open *execpb.Open) *execpb.Open {
	return &execpb.Open{
		SessionId: open.GetSessionId(), InstanceId: open.GetInstanceId(), Argv: open.GetArgv(),
		Resumable: true, Resume: &execpb.Resume{Stdout: 7, Stderr: 8},
	}
}

func TestWhoAsksIsWhatTheCallProves(t *testing.T) {
	c := newCluster(t)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.b, token, "", 1)
	_, _, open := c.begin(t, e)
	if open.GetTokenId() == "" || open.GetTokenId() == "forged" || open.GetSubject() == "forged" || !open.GetResumable() {
		t.Errorf("open %v", open)
	}
}

func TestSessionFollowsItsInstanceToAnotherHome(t *testing.T) {
	c := newCluster(t)
	_, token := sessiontest.Deploy(c.f)
	old := c.attach(t, c.b, token, "", 1)
	caller, _, open := c.begin(t, old)
	c.b.Stop()
	if _, err := caller.Recv(); !errs.Is(errs.FromStatus(err), errs.Unavailable) {
		t.Fatalf("the session ended with %v", err)
	}
	caller, _ = c.start(t, resumed(open)) // before the instance is here
	e := c.attach(t, c.a, token, old.ID, 2)
	instance, again := e.TakeExec()
	if again.GetResume().GetStdout() != 7 || again.GetResume().GetStderr() != 8 || again.GetTokenId() != open.GetTokenId() || again.GetSessionId() != open.GetSessionId() {
		t.Errorf("open %v", again)
	}
	reply(t, instance, keeps(e))
	if out := recv(t, caller); !out.GetOpened().GetResumable() {
		t.Errorf("got %v", out)
	}
	reply(t, instance, &execpb.Output{Kind: &execpb.Output_Exit{Exit: &execpb.Exit{Code: 6}}})
	if out := recv(t, caller); out.GetExit().GetCode() != 6 {
		t.Errorf("got %v", out)
	}
	send(t, caller, &execpb.Input{Kind: &execpb.Input_Ack{Ack: &execpb.Ack{Exit: true}}})
	if in, err := instance.Recv(); err != nil || !in.GetAck().GetExit() {
		t.Errorf("instance got %v, %v", in, err)
	}
}

func TestSessionThatCannotBeResumedIsRefused(t *testing.T) {
	c := newCluster(t)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.a, token, "", 1)
	e.Goodbye(3)
	wait.For(t, patience, "the end to be recorded", func() bool { return c.f.Store.Read().Instance(e.ID).GetExitCode() == 3 })
	gone := &execpb.Open{SessionId: ids.New(), InstanceId: e.ID, Resume: &execpb.Resume{}}
	unnamed := &execpb.Open{InstanceId: e.ID, Resume: &execpb.Resume{}}
	unknown := &execpb.Open{SessionId: ids.New(), InstanceId: ids.New(), Resume: &execpb.Resume{}}
	for _, tt := range []struct {
		open *execpb.Open
		want errs.Kind
	}{{gone, errs.Conflict}, {unnamed, errs.Invalid}, {unknown, errs.Unavailable}} {
		caller, _ := c.start(t, tt.open)
		if _, err := caller.Recv(); !errs.Is(errs.FromStatus(err), tt.want) {
			t.Errorf("%v: %v", tt.open, err)
		}
	}
}

func TestSessionsAreListed(t *testing.T) {
	c := newCluster(t)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.b, token, "", 1)
	_, _, first := c.begin(t, e)
	caller, instance, second := c.begin(t, e)
	reply(t, instance, &execpb.Output{Kind: &execpb.Output_Exit{Exit: &execpb.Exit{Code: 2}}})
	recv(t, caller)
	client := execpb.NewExecClient(c.a.Server.Dial(c.f.User))
	list := func(req *execpb.ListSessionsRequest) []*execpb.Session {
		t.Helper()
		reply, err := client.ListSessions(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return reply.GetSessions()
	}
	wait.For(t, patience, "the records", func() bool {
		got := list(&execpb.ListSessionsRequest{})
		return len(got) == 2 && got[0].GetExit().GetCode() == 2
	})
	reused, _ := c.start(t, &execpb.Open{SessionId: second.GetSessionId(), InstanceId: e.ID})
	if _, err := reused.Recv(); !errs.Is(errs.FromStatus(err), errs.Conflict) {
		t.Errorf("the id of a recorded session: %v", err)
	}
	if got := list(&execpb.ListSessionsRequest{Running: true, InstanceId: e.ID}); len(got) != 1 || got[0].GetId() != first.GetSessionId() || got[0].GetTokenId() != first.GetTokenId() {
		t.Errorf("running: %v", got)
	}
	if got := list(&execpb.ListSessionsRequest{Limit: 1, App: sessiontest.Ref()}); len(got) != 1 || got[0].GetId() != second.GetSessionId() {
		t.Errorf("newest: %v", got)
	}
	if got := list(&execpb.ListSessionsRequest{InstanceId: ids.New()}); len(got) != 0 {
		t.Errorf("of another instance: %v", got)
	}
	bad := sessiontest.Ref()
	bad.App = "no name"
	if _, err := client.ListSessions(t.Context(), &execpb.ListSessionsRequest{App: bad}); !errs.Is(errs.FromStatus(err), errs.Invalid) {
		t.Errorf("a bad name: %v", err)
	}
}

func TestFrontThatLeavesEndsWhatCanGoOnElsewhere(t *testing.T) {
	c := newCluster(t)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.b, token, "", 1)
	caller, instance, _ := c.begin(t, e)
	plain, _ := c.start(t, &execpb.Open{InstanceId: e.ID})
	plainInstance, _ := e.TakeExec()
	reply(t, plainInstance, opened(e))
	recv(t, plain)
	c.a.StopInstances()
	if _, err := caller.Recv(); !errs.Is(errs.FromStatus(err), errs.Unavailable) {
		t.Errorf("the session ended with %v", err)
	}
	if in, err := instance.Recv(); err == nil {
		t.Errorf("instance got %v", in)
	}
	reply(t, plainInstance, &execpb.Output{Kind: &execpb.Output_Exit{Exit: &execpb.Exit{Code: 1}}})
	if out := recv(t, plain); out.GetExit().GetCode() != 1 {
		t.Errorf("got %v", out)
	}
}
