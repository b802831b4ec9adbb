package fsm

import (
	"bytes"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/state"
)

// attachment names one attach of an instance or a runner. A command that is
// about another attach than the row's is stale: a late goodbye must not erase
// a newer hello, nor a late hello a newer goodbye.
type attachment struct {
	nodeID     string
	nodeBoot   string
	generation uint64
}

func attachmentOf(row interface {
	GetNodeId() string
	GetNodeBoot() string
	GetGeneration() uint64
}) attachment {
	return attachment{row.GetNodeId(), row.GetNodeBoot(), row.GetGeneration()}
}

func staleAttach(what, id string) error {
	return errs.New(errs.StaleAttempt, "%s %s has been attached again or has ended since", what, id)
}

// instanceAttach records the home of an instance.
func instanceAttach(o *op, c *commandpb.InstanceAttach) (*commandpb.Result, error) {
	instance := c.GetInstance()
	if instance.GetId() == "" || instance.GetNodeId() == "" || instance.GetGeneration() == 0 {
		return nil, errs.New(errs.Invalid, "an attach needs an instance, a node and a generation")
	}
	if err := o.ofDeployment(instance.GetDeploymentId()); err != nil {
		return nil, err
	}
	deployment := o.Deployment(instance.GetDeploymentId())
	switch {
	case deployment == nil:
		return nil, errs.New(errs.NotFound, "there is no deployment %s", instance.GetDeploymentId())
	case deployment.GetStatus() == deploymentpb.Status_STATUS_DESTROYED:
		return nil, errs.New(errs.Conflict, "deployment %s is destroyed", deployment.GetId())
	}
	old := o.Instance(instance.GetId())
	if err := checkInstanceAttach(instance, old); err != nil {
		return nil, err
	}
	row := proto.CloneOf(instance)
	row.App, row.DeploymentSequence = deployment.GetApp(), deployment.GetSequence()
	row.State, row.ExitCode, row.AskedToEnd = deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED, 0, false
	row.StartedAt, row.AttachedAt, row.ChangedAt = o.now, o.now, o.now
	if old != nil {
		row.StartedAt = old.GetStartedAt()
	}
	row.Turn, row.ChildSince = old.GetTurn(), childSince(o, row, old)
	state.Put(o.WriteTx, row)
	return done(row.GetId()), nil
}

// childSince is when the child's numbers became what they are in row.
func childSince(o *op, row, old *deploymentpb.Instance) *timestamppb.Timestamp {
	if old.GetChildSince() != nil && row.GetChildPid() == old.GetChildPid() && row.GetChildStarts() == old.GetChildStarts() {
		return old.GetChildSince()
	}
	return o.now
}

func checkInstanceAttach(instance, old *deploymentpb.Instance) error {
	if old == nil || instance.GetGeneration() > old.GetGeneration() {
		if old.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_EXITED {
			return staleAttach("instance", instance.GetId())
		}
		if old != nil && old.GetDeploymentId() != instance.GetDeploymentId() {
			return errs.New(errs.Invalid, "instance %s is of another deployment", instance.GetId())
		}
		return nil
	}
	// The same attach may be said again, above all by a node that was taken
	// for lost and is not.
	switch old.GetState() {
	case deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED, deploymentpb.InstanceState_INSTANCE_STATE_LOST:
		if attachmentOf(old) == attachmentOf(instance) && old.GetDeploymentId() == instance.GetDeploymentId() {
			return nil
		}
	}
	return staleAttach("instance", instance.GetId())
}

// instanceUpdate records what became of an attached instance. Without a state
// it brings the child's numbers only.
func instanceUpdate(o *op, c *commandpb.InstanceUpdate) (*commandpb.Result, error) {
	old := o.Instance(c.GetId())
	if old == nil {
		return nil, errs.New(errs.NotFound, "there is no instance %s", c.GetId())
	}
	if err := o.ofDeployment(old.GetDeploymentId()); err != nil {
		return nil, err
	}
	if attachmentOf(old) != attachmentOf(c) {
		return nil, staleAttach("instance", c.GetId())
	}
	row := proto.CloneOf(old)
	if c.GetState() != deploymentpb.InstanceState_INSTANCE_STATE_UNSPECIFIED {
		row.State = c.GetState()
	}
	if !follows(old.GetState(), row.GetState()) {
		return nil, staleAttach("instance", c.GetId())
	}
	switch row.GetState() {
	case deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED:
		row.ChildPid, row.ChildStarts = c.GetChildPid(), c.GetChildStarts()
		row.ChildConfig, row.RestartWanted = c.GetChildConfig(), c.GetRestartWanted()
	case deploymentpb.InstanceState_INSTANCE_STATE_EXITED:
		row.ChildPid, row.ChildStarts = 0, max(c.GetChildStarts(), old.GetChildStarts())
		row.ChildConfig, row.RestartWanted = c.GetChildConfig(), nil
		row.ExitCode, row.AskedToEnd = c.GetExitCode(), c.GetAskedToEnd()
	}
	row.ChildSince = childSince(o, row, old)
	if proto.Equal(row, old) {
		return unchanged(c.GetId()), nil
	}
	if row.GetState() != old.GetState() {
		row.ChangedAt = o.now
	}
	state.Put(o.WriteTx, row)
	if row.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_EXITED {
		endUnknown(o, o.ExecSessionsIn(c.GetId()), "its instance has ended")
	}
	return done(c.GetId()), nil
}

// follows says which states come after which within one attach. An attach that
// has ended does not begin again, and nothing follows an exit.
func follows(old, next deploymentpb.InstanceState) bool {
	switch old {
	case deploymentpb.InstanceState_INSTANCE_STATE_EXITED:
		return next == old
	case deploymentpb.InstanceState_INSTANCE_STATE_DETACHED:
		return next != deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED
	}
	return true
}

// restartGrant gives instances their turn to restart. The result names those
// that got it; the others are passed over: they are not attached, want
// something else by now, have restarted since or have the turn already.
func restartGrant(o *op, c *commandpb.RestartGrant) (*commandpb.Result, error) {
	if err := o.leaderOnly(); err != nil {
		return nil, err
	}
	if n := len(c.GetTurns()); n > state.MaxRestartTurns {
		return nil, errs.New(errs.Invalid, "%d turns to restart are too many for one command: give at most %d", n, state.MaxRestartTurns)
	}
	deployment := o.Deployment(c.GetDeploymentId())
	if deployment == nil || deployment.GetStatus() == deploymentpb.Status_STATUS_DESTROYED {
		return nil, errs.New(errs.NotFound, "there is no deployment %s", c.GetDeploymentId())
	}
	var granted []string
	for _, turn := range c.GetTurns() {
		row := o.Instance(turn.GetInstanceId())
		if row.GetDeploymentId() != deployment.GetId() || !mayRestart(row, turn) {
			continue
		}
		row = proto.CloneOf(row)
		row.Turn = &deploymentpb.RestartTurn{Starts: turn.GetStarts(), Config: turn.GetConfig(), At: o.now}
		state.Put(o.WriteTx, row)
		granted = append(granted, row.GetId())
	}
	if len(granted) == 0 {
		return unchanged(), nil
	}
	return done(granted...), nil
}

func mayRestart(row *deploymentpb.Instance, turn *commandpb.RestartGrant_Turn) bool {
	return row.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED &&
		len(row.GetRestartWanted()) > 0 && bytes.Equal(row.GetRestartWanted(), turn.GetConfig()) &&
		row.GetChildStarts() == turn.GetStarts() &&
		!(row.RestartDue() && bytes.Equal(row.GetTurn().GetConfig(), turn.GetConfig()))
}
