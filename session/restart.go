package session

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"waypoint/api/deploymentpb"
	"waypoint/api/entrypointpb"
	"waypoint/state"
)

// turnsPause is between two looks at whose turn it is, so that turns and their
// uses are handled many at a time.
const turnsPause = 20 * time.Millisecond

// turns tells instances that are attached here when their turn to restart has
// come.
type turns struct{ in *Instances }

// run works until ctx ends. The state says whose turn it is; while it is nobody's
// this sleeps.
func (t turns) run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		watch := state.NewWatchSet()
		for _, row := range t.in.cfg.Store.Read().Watch(watch).InstancesToRestart(t.in.cfg.NodeID) {
			t.give(row)
		}
		if err := watch.Wait(ctx); err != nil {
			return err
		}
		pause.Reset(turnsPause)
	}
}

func (t turns) give(row *deploymentpb.Instance) {
	t.in.mu.Lock()
	defer t.in.mu.Unlock()
	if inst := t.in.byID[row.GetId()]; inst != nil && inst.live != nil {
		inst.live.takeTurn(row)
	}
}

// takeTurn tells the instance of the turn in its replicated row, unless that has
// been done or the instance has said something newer. To tell it twice does no
// harm: it restarts only if its child has been started as often as the turn says.
// The caller holds Instances.mu.
func (a *attach) takeTurn(row *deploymentpb.Instance) {
	turn := row.GetTurn()
	if row.GetNodeBoot() != a.row.GetNodeBoot() || row.GetGeneration() != a.row.GetGeneration() ||
		turn.GetStarts() != a.row.GetChildStarts() || len(a.row.GetRestartWanted()) == 0 || proto.Equal(a.turn, turn) {
		return
	}
	a.turn = turn
	a.out.setRestart(&entrypointpb.Down{Kind: &entrypointpb.Down_Restart{Restart: &entrypointpb.Restart{Starts: turn.GetStarts()}}})
}

// wantsRestart is called when a wants something else than before. A turn that it
// was told of while it wanted nothing came to nothing, and is told again. The
// caller holds Instances.mu.
func (a *attach) wantsRestart() {
	a.turn = nil
	row := a.in.cfg.Store.Read().Instance(a.row.GetId())
	if row.RestartDue() && string(row.GetTurn().GetConfig()) == string(a.row.GetRestartWanted()) {
		a.takeTurn(row)
	}
}
