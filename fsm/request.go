package fsm

import (
	"bytes"
	"crypto/sha256"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/state"
)

// request looks the command's request id up. It returns either the first
// result of the same request, or the row that is to remember this one; a row
// of nil is for commands without an id: those of leader tasks, whose term
// guards them, and Bootstrap, which can only succeed once.
func (o *op) request() (row *commandpb.Request, first *commandpb.Result, err error) {
	id := o.command.GetRequestId()
	if id == "" {
		if o.command.GetTerm() != 0 || o.command.GetBootstrap() != nil {
			return nil, nil, nil
		}
		return nil, nil, errs.New(errs.Invalid, "the command has no request id")
	}
	born, err := ids.Time(id)
	if err != nil {
		return nil, nil, errs.New(errs.Invalid, "the request id is malformed: %w", err)
	}
	switch age := o.place.time.Sub(born); {
	case age > state.RequestWindow:
		return nil, nil, errs.New(errs.OutcomeUnknown, "the request is older than %s, so it is not known any more whether "+
			"it was carried out: look before trying again", state.RequestWindow)
	case age < -state.RequestWindow:
		return nil, nil, errs.New(errs.Invalid, "the request comes from %s in the future: check the clocks of the client "+
			"and the servers", -age)
	}
	sum := digest(o.command)
	if earlier := o.Request(o.command.GetTokenId(), id); dedupes && earlier != nil {
		if !bytes.Equal(earlier.GetDigest(), sum) {
			return nil, nil, errs.New(errs.Conflict, "request id %s was used for another request", id)
		}
		return nil, earlier.GetResult(), nil
	}
	return &commandpb.Request{
		TokenId:   o.command.GetTokenId(),
		RequestId: id,
		Digest:    sum,
		At:        timestamppb.New(born),
	}, nil, nil
}

// digest is the SHA-256 of what the command asks for.
func digest(command *commandpb.Command) []byte {
	bare := &commandpb.Command{TokenId: command.GetTokenId(), Kind: command.GetKind()}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	if err != nil {
		panic(err) // what was decoded can be encoded; becomes a stop of the node
	}
	sum := sha256.Sum256(data)
	return sum[:]
}
