package session_test

import (
	"bytes"
	"testing"
	"time"

	"waypoint/api/commandpb"
	"waypoint/api/entrypointpb"
	"waypoint/internal/wait"
	"waypoint/rpc/rpctest"
	"waypoint/session"
	"waypoint/session/sessiontest"
)

func childOf(pid, starts uint32, config, wanted string) *entrypointpb.ChildState {
	return &entrypointpb.ChildState{Pid: pid, Starts: starts, ConfigHash: []byte(config), RestartWanted: []byte(wanted)}
}

func childUp(pid, starts uint32, config, wanted string) *entrypointpb.Up {
	return &entrypointpb.Up{Kind: &entrypointpb.Up_Child{Child: childOf(pid, starts, config, wanted)}}
}

// grant gives an instance its turn, as the leader does.
func grant(f *rpctest.Fixture, deployment, id, config string, starts uint32) {
	f.Lead(&commandpb.Command_RestartGrant{RestartGrant: &commandpb.RestartGrant{DeploymentId: deployment, Turns: []*commandpb.RestartGrant_Turn{
		{InstanceId: id, Starts: starts, Config: []byte(config)},
	}}})
}

func wantsRestart(t *testing.T, e *sessiontest.Entrypoint, starts uint32) {
	t.Helper()
	if down := e.Recv(); down.GetRestart().GetStarts() != starts {
		t.Fatalf("got %v, want a turn to restart after %d starts", down, starts)
	}
}

func waitWanted(t *testing.T, f *rpctest.Fixture, id, config string) {
	t.Helper()
	wait.For(t, patience, "the wanted restart to be recorded", func() bool { return string(rowOf(f, id).GetRestartWanted()) == config })
}

func TestInstanceIsToldOnceWhenItsTurnHasCome(t *testing.T) {
	f := rpctest.New(t)
	deployment, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, nil)
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{Child: childOf(7, 1, "old", "")})
	other := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{Child: childOf(7, 1, "old", "new")})
	e.Welcome()
	other.Welcome()
	e.Config()
	other.Config()
	e.Send(childUp(7, 1, "old", "new"))
	waitWanted(t, f, e.ID, "new")
	if row := rowOf(f, e.ID); string(row.GetChildConfig()) != "old" {
		t.Errorf("row %v", row)
	}
	grant(f, deployment, e.ID, "new", 1)
	wantsRestart(t, e, 1)
	e.Send(childUp(8, 2, "new", ""))
	waitWanted(t, f, e.ID, "")
	e.Sync() // nothing came before the pong
	other.Sync()
}

func TestTurnFollowsTheInstanceToItsNextHome(t *testing.T) {
	f := rpctest.New(t)
	deployment, token := sessiontest.Deploy(f)
	first, second := sessiontest.NewNode(t, f, nil), sessiontest.NewNode(t, f, nil)
	e := sessiontest.Attach(t, first.Server.Dial(token), &entrypointpb.Hello{Child: childOf(7, 1, "old", "new")})
	e.Welcome()
	e.Config()
	waitWanted(t, f, e.ID, "new")
	grant(f, deployment, e.ID, "new", 1)
	wantsRestart(t, e, 1)
	first.Stop()

	e = sessiontest.Attach(t, second.Server.Dial(token), &entrypointpb.Hello{
		InstanceId: e.ID, Generation: 2, Child: childOf(7, 1, "old", "new"),
	})
	e.Welcome()
	e.Config()
	wantsRestart(t, e, 1)

	// One that has restarted on the way is told nothing.
	e.Drop()
	e = sessiontest.Attach(t, second.Server.Dial(token), &entrypointpb.Hello{
		InstanceId: e.ID, Generation: 3, Child: childOf(8, 2, "new", "newer"),
	})
	e.Welcome()
	e.Config()
	waitWanted(t, f, e.ID, "newer")
	e.Sync()
}

// A turn that came while the instance wanted nothing is told again when it does.
func TestTurnThatCameToNothingIsToldAgain(t *testing.T) {
	f := rpctest.New(t)
	deployment, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, nil)
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{Child: childOf(7, 1, "old", "new")})
	e.Welcome()
	e.Config()
	waitWanted(t, f, e.ID, "new")
	grant(f, deployment, e.ID, "new", 1)
	wantsRestart(t, e, 1)
	e.Send(childUp(7, 1, "old", ""))
	e.Send(childUp(7, 1, "old", "new"))
	wantsRestart(t, e, 1)
	waitWanted(t, f, e.ID, "new")
	e.Send(childUp(7, 1, "old", "newer"))
	waitWanted(t, f, e.ID, "newer")
	e.Sync() // the turn was for another configuration
}

func TestWhatIsNoHashDoesNotFillTheState(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, nil)
	long := string(bytes.Repeat([]byte("x"), 1<<20))
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{Child: childOf(7, 1, long, long)})
	e.Welcome()
	e.Config()
	waitWanted(t, f, e.ID, long[:64])
	if got := len(rowOf(f, e.ID).GetChildConfig()); got != 64 {
		t.Errorf("%d bytes are kept", got)
	}
	e.Goodbye(0)
	wait.For(t, patience, "the end to be recorded", func() bool { return len(rowOf(f, e.ID).GetRestartWanted()) == 0 })
}

// What a restore has taken out of a row is said again.
func TestChildThatTheStateHasForgottenIsSaidAgain(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, func(cfg *session.InstancesConfig) { cfg.Reconcile = time.Millisecond })
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{Child: childOf(7, 1, "old", "new")})
	e.Welcome()
	e.Config()
	waitWanted(t, f, e.ID, "new")
	said := make(chan struct{}, 1)
	f.OnApply(func(cmd *commandpb.Command) error {
		if cmd.GetInstanceAttach().GetInstance().GetId() == e.ID && cmd.GetTokenId() == "node:"+n.ID {
			select {
			case said <- struct{}{}:
			default:
			}
		}
		return nil
	})
	row := rowOf(f, e.ID)
	f.Do(&commandpb.Command_InstanceUpdate{InstanceUpdate: &commandpb.InstanceUpdate{
		Id: row.GetId(), NodeId: row.GetNodeId(), NodeBoot: row.GetNodeBoot(), Generation: row.GetGeneration(), ChildPid: 7, ChildStarts: 1,
	}})
	select {
	case <-said:
	case <-time.After(patience):
		t.Fatal("nothing was said again")
	}
	waitWanted(t, f, e.ID, "new")
}
