package fsm

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/commandpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/state"
)

// The record of a session is kept by the homes that it runs through, each of
// which knows only its own part. A home that loses the session ends the record
// with an error, for it does not know better; the next home takes that back.
// What no home ends any more is ended when its last home is lost or when its
// instance exits or is forgotten. An exit is final.

// execStart records an exec session, or that it goes on at another home. What
// is not the session of the record is refused, whatever its id says: its home
// then tells of it.
func execStart(o *op, c *commandpb.ExecStart) (*commandpb.Result, error) {
	s := c.GetSession()
	if err := o.nodeOnly(); err != nil {
		return nil, err
	}
	if s.GetId() == "" || s.GetInstanceId() == "" {
		return nil, errs.New(errs.Invalid, "the record of an exec session needs its id and its instance")
	}
	old := o.ExecSession(s.GetId())
	row := proto.CloneOf(old)
	switch {
	case old == nil:
		row = proto.CloneOf(s)
		row.StartedAt = o.atMostNow(s.GetStartedAt())
	case old.GetInstanceId() != s.GetInstanceId() || old.GetTokenId() != s.GetTokenId() || !slices.Equal(old.GetArgv(), s.GetArgv()):
		return nil, errs.New(errs.Conflict, "the record of exec session %s is of another instance, token or command", s.GetId())
	case !c.GetResumed() && s.GetStartedAt().AsTime().After(old.GetStartedAt().AsTime()):
		return nil, errs.New(errs.Conflict, "the record of exec session %s is of an earlier session with this id", s.GetId())
	case !c.GetResumed(): // told again, or only after its next home has told
		if s.GetStartedAt() != nil {
			row.StartedAt = s.GetStartedAt()
		}
	case old.GetExit() != nil:
		return unchanged(s.GetId()), nil
	}
	if old == nil || c.GetResumed() {
		row.EndedAt, row.Exit, row.Error = nil, nil, ""
		row.NodeId, row.NodeBoot = o.caller.nodeID, s.GetNodeBoot()
	}
	if proto.Equal(row, old) {
		return unchanged(s.GetId()), nil
	}
	state.Put(o.WriteTx, row)
	return done(s.GetId()), nil
}

// execEnd records how a session ended as far as its home knows.
func execEnd(o *op, c *commandpb.ExecEnd) (*commandpb.Result, error) {
	if err := o.nodeOnly(); err != nil {
		return nil, err
	}
	old := o.ExecSession(c.GetId())
	switch {
	case old == nil:
		return nil, errs.New(errs.NotFound, "there is no record of exec session %s", c.GetId())
	case old.GetExit() != nil:
		return unchanged(c.GetId()), nil
	case c.GetExit() == nil && (old.GetEndedAt() != nil || old.GetNodeId() != o.caller.nodeID):
		return unchanged(c.GetId()), nil
	}
	row := proto.CloneOf(old)
	row.EndedAt, row.Exit, row.Error = o.atMostNow(c.GetEndedAt()), c.GetExit(), c.GetError()
	state.Put(o.WriteTx, row)
	return done(c.GetId()), nil
}

// endUnknown ends sessions of which nobody is going to say how they ended.
func endUnknown(o *op, sessions []*execpb.Session, why string) {
	for _, s := range sessions {
		row := proto.CloneOf(s)
		row.EndedAt, row.Error = o.now, "its end is not known: "+why
		state.Put(o.WriteTx, row)
	}
}

// nodeOnly refuses a command that nodes send by themselves.
func (o *op) nodeOnly() error {
	if o.caller.nodeID == "" {
		return errs.New(errs.PermissionDenied, "only a node does this")
	}
	return nil
}

// atMostNow is a node's own time, for what reaches the state later than it
// happened; never one that is still to come.
func (o *op) atMostNow(t *timestamppb.Timestamp) *timestamppb.Timestamp {
	if t == nil || t.AsTime().After(o.place.time) {
		return o.now
	}
	return t
}
