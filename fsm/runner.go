package fsm

import (
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/state"
)

// runnerAttach records the home of a runner.
func runnerAttach(o *op, c *commandpb.RunnerAttach) (*commandpb.Result, error) {
	runner := c.GetRunner()
	if runner.GetId() == "" || runner.GetNodeId() == "" || runner.GetGeneration() == 0 {
		return nil, errs.New(errs.Invalid, "an attach needs a runner, a node and a generation")
	}
	old := o.Runner(runner.GetId())
	if !runnerMayAttach(runner, old) {
		return nil, staleAttach("runner", runner.GetId())
	}
	row := proto.CloneOf(runner)
	row.State = runnerpb.State_STATE_ATTACHED
	row.AttachedAt, row.ChangedAt = o.now, o.now
	state.Put(o.WriteTx, row)
	return done(row.GetId()), nil
}

func runnerMayAttach(runner, old *runnerpb.Runner) bool {
	if old == nil || runner.GetGeneration() > old.GetGeneration() {
		return true
	}
	return old.GetState() != runnerpb.State_STATE_DETACHED && attachmentOf(old) == attachmentOf(runner)
}

// runnerDetach records that a runner's stream has ended, or forgets a runner
// whose process has.
func runnerDetach(o *op, c *commandpb.RunnerDetach) (*commandpb.Result, error) {
	old := o.Runner(c.GetId())
	if old == nil {
		return unchanged(c.GetId()), nil
	}
	if attachmentOf(old) != attachmentOf(c) {
		return nil, staleAttach("runner", c.GetId())
	}
	if c.GetGone() {
		state.Delete(o.WriteTx, old)
		return done(c.GetId()), nil
	}
	if old.GetState() == runnerpb.State_STATE_DETACHED {
		return unchanged(c.GetId()), nil
	}
	row := proto.CloneOf(old)
	row.State, row.ChangedAt = runnerpb.State_STATE_DETACHED, o.now
	state.Put(o.WriteTx, row)
	return done(c.GetId()), nil
}
