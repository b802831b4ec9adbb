package fsm

import (
	"fmt"
	"runtime/debug"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/state"
)

// op is one command being applied: its transaction and its circumstances. The
// command functions read from and write to it.
type op struct {
	*state.WriteTx
	place   place
	now     *timestamppb.Timestamp // the entry's time, shared by what is stamped with it
	command *commandpb.Command
	caller  caller
}

// apply decides one command. The result, which may be a refusal, is shared
// with the state: the caller must not change it.
func (f *FSM) apply(e *state.Entry, p place, command *commandpb.Command) *commandpb.Result {
	o := &op{
		WriteTx: e.Command(),
		place:   p,
		now:     timestamppb.New(p.time),
		command: command,
	}
	defer o.Abort()

	found, content, err := f.kinds.of(command, o.Meta().NodeVersion)
	if err == nil {
		err = o.admit()
	}
	if err != nil {
		return refusal(err)
	}
	request, first, err := o.request()
	if err != nil {
		return refusal(err)
	}
	if first != nil {
		return first
	}
	result, err := f.run(found, o, content)
	if err != nil {
		o.Abort()
		return refuse(e.Command(), request, err)
	}
	if request != nil {
		request.Result = result
		o.Remember(request)
	}
	o.Commit()
	return result
}

// run calls the kind's function. A panic in it becomes a refusal whose text is
// the same on every node.
func (f *FSM) run(k kind, o *op, content proto.Message) (result *commandpb.Result, err error) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		id := fmt.Sprintf("apply-%d-%d", o.place.index, o.place.number)
		f.logger.Error("command failed inside the state machine",
			"id", id, "kind", k.name, "cause", cause, "stack", string(debug.Stack()))
		failed := errs.New(errs.Internal, "%s failed inside the state machine and has changed nothing; "+
			"the servers' logs hold the cause under %s", k.name, id)
		failed.ID = id
		result, err = nil, failed
	}()
	return k.run(o, content)
}

// refuse remembers a refusal, so that a retry meets its own first result. What
// says nothing about the state, but only about the caller, is not remembered.
func refuse(w *state.WriteTx, request *commandpb.Request, err error) *commandpb.Result {
	result := refusal(err)
	if request == nil || errs.Is(err, errs.Unauthenticated) {
		return result
	}
	request.Result = result
	w.Remember(request)
	return result
}

func refusal(err error) *commandpb.Result {
	return &commandpb.Result{Error: errs.ToProto(err)}
}

// done is the result of a command that changed the objects.
func done(ids ...string) *commandpb.Result {
	return &commandpb.Result{Ids: ids}
}

// unchanged is the result of a command that found everything as it wants it.
func unchanged(ids ...string) *commandpb.Result {
	return &commandpb.Result{Ids: ids, Unchanged: true}
}
