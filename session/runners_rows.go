package session

import (
	"context"
	"sync"

	"waypoint/api/commandpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/internal/ids"
	"waypoint/state"
)

// reconcile brings the rows of this node's runners into the replicated state,
// behind the streams' back: it compares them with the streams whenever either
// changes, and says what differs.
func (r *Runners) reconcile(ctx context.Context) error {
	pause := backoff.New(rowRetryMin, rowRetryMax)
	for {
		ws := state.NewWatchSet()
		rows := r.cfg.Store.Read().Watch(ws).RunnersOfNode(r.cfg.NodeID)
		var err error
		if r.sayRows(ctx, r.differences(rows)) {
			pause.Reset()
			err = waitChange(ctx, ws, r.toRows)
		} else {
			err = pause.Wait(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// rowChange is a command about one runner's row.
type rowChange struct {
	session *runnerSession // nil for one that has left
	command *commandpb.Command
}

// differences returns what the state does not say yet.
func (r *Runners) differences(rows []*runnerpb.Runner) []rowChange {
	tx := r.cfg.Store.Read()
	r.mu.Lock()
	defer r.mu.Unlock()
	var changes []rowChange
	for id, s := range r.byID {
		row := tx.Runner(id)
		switch {
		case row.GetGeneration() > s.row.GetGeneration():
			s.end(errs.New(errs.StaleAttempt, "runner session: runner is attached elsewhere by generation %d", row.GetGeneration()))
		case !r.isHere(row) || row.GetGeneration() != s.row.GetGeneration() || row.GetState() != runnerpb.State_STATE_ATTACHED:
			changes = append(changes, rowChange{s, &commandpb.Command{Kind: &commandpb.Command_RunnerAttach{
				RunnerAttach: &commandpb.RunnerAttach{Runner: s.row},
			}}})
		}
	}
	here := map[string]bool{}
	for _, row := range rows {
		if !r.isHere(row) {
			continue
		}
		here[row.GetId()] = true
		if s := r.byID[row.GetId()]; s != nil && s.row.GetGeneration() >= row.GetGeneration() {
			continue
		}
		gone := r.gone[row.GetId()] == row.GetGeneration()
		if !gone && row.GetState() != runnerpb.State_STATE_ATTACHED {
			continue
		}
		changes = append(changes, rowChange{nil, &commandpb.Command{Kind: &commandpb.Command_RunnerDetach{
			RunnerDetach: &commandpb.RunnerDetach{
				Id: row.GetId(), NodeId: row.GetNodeId(), NodeBoot: row.GetNodeBoot(), Generation: row.GetGeneration(), Gone: gone,
			},
		}}})
	}
	for id := range r.gone {
		if !here[id] && r.byID[id] == nil {
			delete(r.gone, id)
		}
	}
	return changes
}

func (r *Runners) isHere(row *runnerpb.Runner) bool {
	return row.GetNodeId() == r.cfg.NodeID && row.GetNodeBoot() == r.cfg.BootID
}

// sayGone notes that the process of a runner ends.
func (r *Runners) sayGone(s *runnerSession) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone[s.row.GetId()] = s.row.GetGeneration()
}

// sayRows applies changes of different rows and returns false if one should be
// tried again.
func (r *Runners) sayRows(ctx context.Context, changes []rowChange) bool {
	var (
		slots = make(chan struct{}, rowWriters)
		wg    sync.WaitGroup
		mu    sync.Mutex
		ok    = true
	)
	for _, change := range changes {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if !r.sayRow(ctx, change) {
				mu.Lock()
				defer mu.Unlock()
				ok = false
			}
		})
	}
	wg.Wait()
	return ok
}

func (r *Runners) sayRow(ctx context.Context, change rowChange) bool {
	ctx, cancel := context.WithTimeout(ctx, rowTimeout)
	defer cancel()
	change.command.RequestId, change.command.TokenId = ids.At(r.cfg.Now()), nodePrefix+r.cfg.NodeID
	_, err := r.cfg.Applier.Apply(ctx, change.command)
	switch {
	case err == nil:
		return true
	case retryable(err):
		r.cfg.Logger.Debug("cannot record a runner yet", "error", err)
		return false
	case change.session != nil:
		change.session.end(errs.New(errs.KindOf(err), "runner session: the cluster refuses this runner: %w", err))
	}
	return true
}
