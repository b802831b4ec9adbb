package session_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/entrypointpb"
	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/rpc/rpctest"
	"waypoint/session"
	"waypoint/session/sessiontest"
)

const patience = 10 * time.Second

func rowOf(f *rpctest.Fixture, id string) *deploymentpb.Instance {
	return f.Store.Read().Instance(id)
}

func waitState(t *testing.T, f *rpctest.Fixture, id string, want deploymentpb.InstanceState) *deploymentpb.Instance {
	t.Helper()
	wait.For(t, patience, fmt.Sprintf("instance to be %s", want), func() bool { return rowOf(f, id).GetState() == want })
	return rowOf(f, id)
}

func TestAttachWelcomesSendsConfigAndRecordsTheInstance(t *testing.T) {
	f := rpctest.New(t)
	deployment, token := sessiontest.Deploy(f)
	sessiontest.SetConfig(t, f, "COLOR", "blue")
	n := sessiontest.NewNode(t, f, nil)

	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{Host: "h1", Child: &entrypointpb.ChildState{Pid: 7, Starts: 1}})
	welcome := e.Welcome()
	if welcome.GetNodeId() != n.ID || len(welcome.GetServerAddrs()) != 3 || welcome.GetSendLogsAfter() != 0 {
		t.Errorf("welcome %v", welcome)
	}
	vars, config := e.Config()
	if len(vars) != 1 || vars["COLOR"] != "blue" || len(config.GetHash()) != 32 || config.GetIndex() == 0 || config.GetEpoch() == "" {
		t.Errorf("config %v", config)
	}
	row := waitState(t, f, e.ID, deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED)
	if row.GetDeploymentId() != deployment || row.GetNodeId() != n.ID || row.GetGeneration() != 1 || row.GetHost() != "h1" || row.GetChildPid() != 7 {
		t.Errorf("row %v", row)
	}

	e.Send(&entrypointpb.Up{Kind: &entrypointpb.Up_Child{Child: &entrypointpb.ChildState{Pid: 8, Starts: 2}}})
	wait.For(t, patience, "child to be recorded", func() bool { return rowOf(f, e.ID).GetChildPid() == 8 })
	e.Goodbye(3)
	if row := waitState(t, f, e.ID, deploymentpb.InstanceState_INSTANCE_STATE_EXITED); row.GetExitCode() != 3 || row.GetAskedToEnd() {
		t.Errorf("row %v", row)
	}

	asked := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{})
	asked.Welcome()
	asked.Send(&entrypointpb.Up{Kind: &entrypointpb.Up_Goodbye{Goodbye: &entrypointpb.Goodbye{ExitCode: 143, Asked: true}}})
	if row := waitState(t, f, asked.ID, deploymentpb.InstanceState_INSTANCE_STATE_EXITED); row.GetExitCode() != 143 || !row.GetAskedToEnd() {
		t.Errorf("row of one that was asked to end: %v", row)
	}
}

func TestLostStreamDetachesTheInstance(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, nil)
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{})
	e.Welcome()
	waitState(t, f, e.ID, deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED)
	e.Drop()
	waitState(t, f, e.ID, deploymentpb.InstanceState_INSTANCE_STATE_DETACHED)
	wait.For(t, patience, "the stream to be gone", func() bool { return n.Attached() == 0 })
}

func TestConfigChangeArrivesAndNothingIsSentForTheSameConfig(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	sessiontest.SetConfig(t, f, "COLOR", "blue")
	n := sessiontest.NewNode(t, f, nil)
	conn := n.Server.Dial(token)
	first := sessiontest.Attach(t, conn, &entrypointpb.Hello{})
	first.Welcome()
	_, have := first.Config()

	second := sessiontest.Attach(t, conn, &entrypointpb.Hello{
		Have: &entrypointpb.HaveConfig{Epoch: have.GetEpoch(), Index: have.GetIndex(), Hash: have.GetHash()},
	})
	second.Welcome()
	second.Sync() // no config came before the pong
	sessiontest.SetConfig(t, f, "COLOR", "red")
	for _, e := range []*sessiontest.Entrypoint{first, second} {
		if vars, config := e.Config(); vars["COLOR"] != "red" || config.GetIndex() <= have.GetIndex() {
			t.Errorf("config %v", config)
		}
	}
	sessiontest.SetConfig(t, f, "COLOR", "red")
	first.Sync()
}

func TestNodeThatIsBehindWaitsRatherThanSendOlderConfig(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	sessiontest.SetConfig(t, f, "COLOR", "blue")
	n := sessiontest.NewNode(t, f, nil)
	epoch, index := f.Store.Index()
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{
		Have: &entrypointpb.HaveConfig{Epoch: epoch, Index: index + 20, Hash: []byte("newer")},
	})
	e.Welcome()
	waitState(t, f, e.ID, deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED)
	e.Sync()
	sessiontest.SetConfig(t, f, "COLOR", "red")
	e.Sync()
	for range 20 {
		f.Do(&commandpb.Command_Noop{Noop: &commandpb.Noop{}})
	}
	if vars, config := e.Config(); vars["COLOR"] != "red" {
		t.Errorf("config %v", config)
	}
}

func TestNewerGenerationReplacesTheOlderStream(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, nil)
	conn := n.Server.Dial(token)
	older := sessiontest.Attach(t, conn, &entrypointpb.Hello{})
	older.Welcome()
	newer := sessiontest.Attach(t, conn, &entrypointpb.Hello{InstanceId: older.ID, Generation: 2})
	newer.Welcome()
	if err := older.Broken(); !errs.Is(err, errs.StaleAttempt) {
		t.Errorf("older stream ended with %v", err)
	}
	late := sessiontest.Attach(t, conn, &entrypointpb.Hello{InstanceId: older.ID, Generation: 1})
	if err := late.Broken(); !errs.Is(err, errs.StaleAttempt) {
		t.Errorf("late stream ended with %v", err)
	}
	wait.For(t, patience, "generation 2 to be recorded", func() bool { return rowOf(f, older.ID).GetGeneration() == 2 })
	newer.Config()
	newer.Sync()
	if got := n.Attached(); got != 1 {
		t.Errorf("%d attached", got)
	}
}

func TestAttachRefusesWhatDoesNotFit(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	_, other := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, nil)
	mine := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{})
	mine.Welcome()
	foreign := sessiontest.Attach(t, n.Server.Dial(other), &entrypointpb.Hello{InstanceId: mine.ID, Generation: 2})
	if err := foreign.Broken(); !errs.Is(err, errs.PermissionDenied) {
		t.Errorf("another deployment's instance: %v", err)
	}
	malformed := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{InstanceId: "../../etc"})
	if err := malformed.Broken(); !errs.Is(err, errs.Invalid) {
		t.Errorf("malformed id: %v", err)
	}
}

func TestStreamWorksWhileNothingCanBeRecorded(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	sessiontest.SetConfig(t, f, "COLOR", "blue")
	n := sessiontest.NewNode(t, f, nil)
	f.OnApply(func(*commandpb.Command) error { return errs.New(errs.Unavailable, "no leader") })
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{})
	e.Welcome()
	if vars, _ := e.Config(); vars["COLOR"] != "blue" {
		t.Errorf("config %v", vars)
	}
	e.Logs(1, 3)
	e.Sync()
	if rowOf(f, e.ID) != nil {
		t.Fatal("recorded without a leader")
	}
	f.OnApply(nil)
	waitState(t, f, e.ID, deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED)
}

func TestRowThatWasTakenForLostIsSaidAgain(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, func(c *session.InstancesConfig) { c.Reconcile = 10 * time.Millisecond })
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{})
	e.Welcome()
	row := waitState(t, f, e.ID, deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED)
	lost := make(chan struct{})
	var once sync.Once
	f.OnApply(func(c *commandpb.Command) error {
		if c.GetInstanceAttach() != nil {
			once.Do(func() { close(lost) })
		}
		return nil
	})
	if _, err := f.Apply(t.Context(), &commandpb.Command{Term: 1, TokenId: "node:" + f.NodeID, Kind: &commandpb.Command_NodeLost{
		NodeLost: &commandpb.NodeLost{NodeId: n.ID, BootId: row.GetNodeBoot()},
	}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("not said again")
	}
	waitState(t, f, e.ID, deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED)
}

func TestIdleStreamIsDropped(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, func(c *session.InstancesConfig) { c.IdleTimeout = 50 * time.Millisecond })
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{})
	if err := e.Broken(); !errs.Is(err, errs.Unavailable) {
		t.Errorf("ended with %v", err)
	}
}

func TestDrainMovesInstancesToOtherNodes(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, nil)
	conn := n.Server.Dial(token)
	var list []*sessiontest.Entrypoint
	for range 4 {
		e := sessiontest.Attach(t, conn, &entrypointpb.Hello{})
		e.Welcome()
		e.Config()
		list = append(list, e)
	}
	left := make(chan int, 1)
	go func() { left <- n.Drain(t.Context()) }()
	targets := map[string]int{}
	for _, e := range list {
		move := e.Recv().GetMove()
		if len(move.GetServerAddrs()) != 2 {
			t.Fatalf("move %v", move)
		}
		targets[move.GetServerAddrs()[0]]++
	}
	if targets["b:9701"] != 2 || targets["c:9701"] != 2 {
		t.Errorf("not spread: %v", targets)
	}
	refused := sessiontest.Attach(t, conn, &entrypointpb.Hello{})
	if err := refused.Broken(); !errs.Is(err, errs.Unavailable) {
		t.Errorf("new instance: %v", err)
	}
	for _, e := range list {
		e.Drop()
	}
	select {
	case n := <-left:
		if n != 0 {
			t.Errorf("%d left", n)
		}
	case <-time.After(patience):
		t.Fatal("drain did not end")
	}
}

func TestDrainIsBounded(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, nil)
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{})
	e.Welcome()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if left := n.Drain(ctx); left != 1 {
		t.Errorf("%d left", left)
	}
}

func readLogs(t *testing.T, n *sessiontest.Node, req *nodepb.LogsRequest) (seqs []uint64, gaps uint64, ended bool) {
	t.Helper()
	err := n.Logs(t.Context(), req, func(r *nodepb.LogsResponse) error {
		for _, l := range r.GetBatch().GetLines() {
			seqs = append(seqs, l.GetSeq())
		}
		gaps += r.GetBatch().GetGap().GetLines()
		ended = r.GetBatch().GetEnded()
		return nil
	})
	if err != nil {
		t.Fatalf("logs: %v", err)
	}
	return seqs, gaps, ended
}

func TestRingResumesWithoutDuplicatesAndReportsGaps(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, nil)
	conn := n.Server.Dial(token)
	e := sessiontest.Attach(t, conn, &entrypointpb.Hello{})
	e.Welcome()
	e.Config()
	e.Logs(1, 5)
	e.Sync()
	e.Drop()
	wait.For(t, patience, "the stream to be gone", func() bool { return n.Attached() == 0 })

	e = sessiontest.Attach(t, conn, &entrypointpb.Hello{InstanceId: e.ID, Generation: 2})
	if after := e.Welcome().GetSendLogsAfter(); after != 5 {
		t.Errorf("asked for lines after %d", after)
	}
	e.Config()
	e.Logs(4, 8)
	e.Send(&entrypointpb.Up{Kind: &entrypointpb.Up_Logs{Logs: &entrypointpb.LogBatch{DroppedLines: 2, DroppedBytes: 40}}})
	e.Logs(11, 12)
	e.Goodbye(0)
	seqs, gaps, ended := readLogs(t, n, &nodepb.LogsRequest{InstanceId: e.ID, Follow: true})
	if fmt.Sprint(seqs) != "[1 2 3 4 5 6 7 8 11 12]" || gaps != 2 || !ended {
		t.Errorf("lines %v, %d lost, ended %v", seqs, gaps, ended)
	}
	seqs, gaps, _ = readLogs(t, n, &nodepb.LogsRequest{InstanceId: e.ID, HasAfter: true, After: 9})
	if fmt.Sprint(seqs) != "[11 12]" || gaps != 1 {
		t.Errorf("lines %v, %d lost", seqs, gaps)
	}
	seqs, _, _ = readLogs(t, n, &nodepb.LogsRequest{InstanceId: e.ID, Tail: 1})
	if fmt.Sprint(seqs) != "[12]" {
		t.Errorf("tail %v", seqs)
	}
	if err := n.Logs(t.Context(), &nodepb.LogsRequest{InstanceId: ids.New()}, nil); !errs.Is(err, errs.NotFound) {
		t.Errorf("unknown instance: %v", err)
	}
}

func TestLogBudgetForgetsThoseThatLeftFirst(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, func(c *session.InstancesConfig) { c.LogBudget, c.RingBytes = 100_000, 90_000 })
	conn := n.Server.Dial(token)
	var list []*sessiontest.Entrypoint
	for range 3 {
		e := sessiontest.Attach(t, conn, &entrypointpb.Hello{})
		e.Welcome()
		e.Config()
		list = append(list, e)
	}
	list[0].Logs(1, 500)
	list[0].Goodbye(0)
	for _, e := range list[1:] {
		e.Logs(1, 600)
		e.Sync()
	}
	if err := n.Logs(t.Context(), &nodepb.LogsRequest{InstanceId: list[0].ID}, nil); !errs.Is(err, errs.NotFound) {
		t.Errorf("the ring of the instance that left: %v", err)
	}
	total := 0
	for _, e := range list[1:] {
		seqs, _, _ := readLogs(t, n, &nodepb.LogsRequest{InstanceId: e.ID})
		if len(seqs) == 0 || seqs[len(seqs)-1] != 600 {
			t.Errorf("newest lines are gone: %v", seqs)
		}
		total += len(seqs)
	}
	if total > 1000 {
		t.Errorf("%d lines kept", total)
	}
}
