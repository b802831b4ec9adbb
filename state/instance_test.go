package state

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/deploymentpb"
)

const (
	stateAttached = deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED
	stateExited   = deploymentpb.InstanceState_INSTANCE_STATE_EXITED
)

func instanceOf(id, deployment string, change func(*deploymentpb.Instance)) *deploymentpb.Instance {
	i := &deploymentpb.Instance{Id: id, DeploymentId: deployment, NodeId: "n1", State: stateAttached, ChildPid: 7, ChildStarts: 1}
	if change != nil {
		change(i)
	}
	return i
}

func wants(config string) func(*deploymentpb.Instance) {
	return func(i *deploymentpb.Instance) { i.RestartWanted = []byte(config) }
}

// turned is an instance on n2 that wants "new" and has had a turn.
func turned(starts uint32, config string) func(*deploymentpb.Instance) {
	return func(i *deploymentpb.Instance) {
		i.NodeId, i.RestartWanted = "n2", []byte("new")
		i.Turn = &deploymentpb.RestartTurn{Starts: starts, Config: []byte(config)}
	}
}

func TestWhoWantsToRestartAndWhoseTurnItIs(t *testing.T) {
	s := New()
	commit(s, func(w *WriteTx) {
		Put(w, instanceOf("1", "d1", nil))
		Put(w, instanceOf("2", "d2", wants("new")))
		Put(w, instanceOf("3", "d2", wants("newer")))
		Put(w, instanceOf("4", "d3", func(i *deploymentpb.Instance) { wants("new")(i); i.State = stateExited }))
		Put(w, instanceOf("5", "d4", turned(1, "new")))
		Put(w, instanceOf("6", "d4", turned(0, "new")))
		Put(w, instanceOf("7", "d4", turned(1, "newer")))
		Put(w, instanceOf("8", "d4", func(i *deploymentpb.Instance) { turned(1, "new")(i); i.RestartWanted = nil }))
	})
	tx := s.Read()
	want(t, "wanting", tx.DeploymentsWantingRestarts(), []string{"d2", "d4"})
	want(t, "to restart", idsOf(tx.InstancesToRestart("n2")), []string{"5"})
	want(t, "to restart elsewhere", idsOf(tx.InstancesToRestart("n1")), []string{})
	want(t, "of a deployment", idsOf(tx.InstancesOfDeployment("d2")), []string{"2", "3"})
}

// Who waits for restarts is not woken by instances that want none.
func TestWaitingForRestartsIsFreeWhileNobodyWantsThem(t *testing.T) {
	s := New()
	watch := NewWatchSet()
	tx := s.Read().Watch(watch)
	tx.DeploymentsWantingRestarts()
	tx.InstancesToRestart("n1")
	commit(s, func(w *WriteTx) { Put(w, instanceOf("1", "d1", nil)) })
	commit(s, func(w *WriteTx) { Put(w, instanceOf("2", "d1", nil)) })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if watch.Wait(ended) == nil {
		t.Error("woken by an instance that wants nothing")
	}
	commit(s, func(w *WriteTx) { Put(w, instanceOf("2", "d1", wants("new"))) })
	if err := watch.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWhatRestartsTried(t *testing.T) {
	for name, c := range map[string]struct {
		row  *deploymentpb.Instance
		want string
	}{
		"no turn":                     {&deploymentpb.Instance{ChildConfig: []byte("a")}, ""},
		"not used":                    {&deploymentpb.Instance{ChildConfig: []byte("a"), Turn: &deploymentpb.RestartTurn{Config: []byte("b")}}, "b"},
		"used":                        {&deploymentpb.Instance{ChildConfig: []byte("c"), ChildStarts: 1, Turn: &deploymentpb.RestartTurn{Config: []byte("b")}}, "c"},
		"used, it is not known how":   {&deploymentpb.Instance{ChildStarts: 1, Turn: &deploymentpb.RestartTurn{Config: []byte("b")}}, "b"},
		"not used, never had another": {&deploymentpb.Instance{Turn: &deploymentpb.RestartTurn{Config: []byte("b")}}, "b"},
	} {
		if got := string(RestartTried(c.row)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A limit must not be used up by rows that are kept.
func TestKeptInstancesDoNotHideOlderOnes(t *testing.T) {
	s := New()
	commit(s, func(w *WriteTx) {
		for i, id := range []string{"1", "2", "3", "4"} {
			Put(w, instanceOf(id, "d1", func(row *deploymentpb.Instance) {
				row.State, row.ChangedAt = stateExited, timestamppb.New(time.Unix(int64(i), 0))
				if i < 2 {
					row.Turn = &deploymentpb.RestartTurn{Starts: 1, Config: []byte("new")}
				}
				row.AskedToEnd = i == 1
			}))
		}
		Put(w, instanceOf("5", "d1", wants("new")))
	})
	want(t, "away", idsOf(s.Read().InstancesAwayBefore(time.Unix(9, 0), 1)), []string{"2"})
	want(t, "all away", idsOf(s.Read().InstancesAwayBefore(time.Unix(9, 0), 9)), []string{"2", "3", "4"})
}
