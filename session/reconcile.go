package session

import (
	"bytes"
	"context"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/state"
)

// reconcile says again what the state no longer says about instances that are
// attached here: their rows were marked lost while this node could not be
// reached, or history was replaced by a restore.
func (in *Instances) reconcile(ctx context.Context) error {
	for {
		watch := state.NewWatchSet()
		in.cfg.Store.Read().Watch(watch).InstancesOfNode(in.cfg.NodeID)
		if in.compareRows() {
			if err := watch.Wait(ctx); err != nil {
				return err
			}
		}
		pause := time.NewTimer(in.cfg.Reconcile)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// compareRows tells whether it could look at all rows: what is on its way into
// the state is looked at later.
func (in *Instances) compareRows() (all bool) {
	tx := in.cfg.Store.Read()
	all = true
	for _, a := range in.attached() {
		in.mu.Lock()
		want, live := a.row, a.inst.live == a
		in.mu.Unlock()
		if !live {
			continue
		}
		if !in.rows.settled(want) {
			all = false
			continue
		}
		row := tx.Instance(want.GetId())
		if !sameRow(row, want) { // want may be newer than tx
			row = in.cfg.Store.Read().Instance(want.GetId())
		}
		switch {
		case row.GetGeneration() > want.GetGeneration():
			a.end(errs.New(errs.StaleAttempt, "attach: instance is attached elsewhere by generation %d", row.GetGeneration()))
		case !sameRow(row, want):
			in.rows.again(want)
		}
	}
	return all
}

func sameRow(row, want *deploymentpb.Instance) bool {
	return row.GetNodeId() == want.GetNodeId() && row.GetNodeBoot() == want.GetNodeBoot() &&
		row.GetGeneration() == want.GetGeneration() && row.GetState() == want.GetState() &&
		row.GetChildPid() == want.GetChildPid() && row.GetChildStarts() == want.GetChildStarts() &&
		bytes.Equal(row.GetChildConfig(), want.GetChildConfig()) && bytes.Equal(row.GetRestartWanted(), want.GetRestartWanted())
}

// attached returns the streams of this moment.
func (in *Instances) attached() []*attach {
	in.mu.Lock()
	defer in.mu.Unlock()
	list := make([]*attach, 0, in.live)
	for _, inst := range in.byID {
		if inst.live != nil {
			list = append(list, inst.live)
		}
	}
	return list
}

// waitRow returns the deployment's row, or nil if it has not come within the
// time.
func waitRow(ctx context.Context, store *state.Store, limit time.Duration, id string) (*deploymentpb.Deployment, error) {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		watch := state.NewWatchSet()
		if row := store.Read().Watch(watch).Deployment(id); row != nil {
			return row, nil
		}
		if err := watch.Wait(bounded); err != nil {
			return nil, context.Cause(ctx)
		}
	}
}
