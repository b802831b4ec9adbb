// Package errs holds the closed list of error kinds and their way over the
// wire: as a gRPC status whose detail is an errpb.Error, and as the refusal
// that the state machine stores as a command's result.
//
// It must not know what any particular operation is about: it carries kinds
// and texts, it does not write them.
package errs

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/status"

	"waypoint/api/errpb"
)

// Kind says what a caller may conclude from an error, whatever its text.
type Kind = errpb.Kind

// The kinds. Each one's meaning stands beside its value in api/errpb/err.proto.
const (
	Internal         = errpb.Kind_KIND_INTERNAL
	Invalid          = errpb.Kind_KIND_INVALID
	NotFound         = errpb.Kind_KIND_NOT_FOUND
	AlreadyExists    = errpb.Kind_KIND_ALREADY_EXISTS
	Conflict         = errpb.Kind_KIND_CONFLICT
	Unauthenticated  = errpb.Kind_KIND_UNAUTHENTICATED
	PermissionDenied = errpb.Kind_KIND_PERMISSION_DENIED
	Unavailable      = errpb.Kind_KIND_UNAVAILABLE
	OutcomeUnknown   = errpb.Kind_KIND_OUTCOME_UNKNOWN
	Exhausted        = errpb.Kind_KIND_EXHAUSTED
	Protocol         = errpb.Kind_KIND_PROTOCOL
	Canceled         = errpb.Kind_KIND_CANCELED
	Deadline         = errpb.Kind_KIND_DEADLINE
	StaleAttempt     = errpb.Kind_KIND_STALE_ATTEMPT
	Unimplemented    = errpb.Kind_KIND_UNIMPLEMENTED
)

// Error is an error of a known kind.
type Error struct {
	Kind     Kind
	Message  string                  // for people: what failed, on what, what to do next
	ID       string                  // names the cause in the server's log; set for Internal
	Mismatch *errpb.ProtocolMismatch // set for Protocol
	cause    error
}

// New makes an error of the given kind. Format and args are those of
// fmt.Errorf: what a %w names can be found again with errors.Is and errors.As,
// but the new kind stands before the kind of what is wrapped.
func New(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Kind: kind, Message: err.Error()}
	switch err.(type) {
	case interface{ Unwrap() error }, interface{ Unwrap() []error }:
		e.cause = err
	}
	return e
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns what New was given with %w, or the gRPC error that FromStatus
// was given; nil if neither.
func (e *Error) Unwrap() error { return e.cause }

// KindOf returns the kind of the first error in err's tree that has one: an
// *Error, a gRPC status, or an error of package context. It returns
// KIND_UNSPECIFIED for nil and Internal for an error that says nothing.
func KindOf(err error) Kind {
	if err == nil {
		return errpb.Kind_KIND_UNSPECIFIED
	}
	var e *Error
	if errors.As(err, &e) {
		return known(e.Kind)
	}
	if s, ok := fromGRPC(err); ok {
		if d := detail(s); d != nil {
			return known(d.GetKind())
		}
		return kindOfCode(s.Code())
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	}
	return Internal
}

// Is tells whether err is of the given kind, by the rules of KindOf.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// ToProto returns the form of err that is sent and stored: its kind, the text
// of the whole error with everything wrapped round it, and the id and mismatch
// of the *Error in it. It returns nil for nil.
func ToProto(err error) *errpb.Error {
	if err == nil {
		return nil
	}
	p := &errpb.Error{Kind: KindOf(err), Message: message(err)}
	var e *Error
	if errors.As(err, &e) {
		p.Id, p.Protocol = e.ID, e.Mismatch
	} else if s, ok := fromGRPC(err); ok {
		if d := detail(s); d != nil {
			p.Id, p.Protocol = d.GetId(), d.GetProtocol()
		}
	}
	return p
}

// FromProto returns the *Error that ToProto made p of, and nil for nil. A kind
// that this build does not know becomes Internal.
func FromProto(p *errpb.Error) error {
	if p == nil {
		return nil
	}
	return fromProto(p, nil)
}

func fromProto(p *errpb.Error, cause error) *Error {
	return &Error{
		Kind:     known(p.GetKind()),
		Message:  p.GetMessage(),
		ID:       p.GetId(),
		Mismatch: p.GetProtocol(),
		cause:    cause,
	}
}

// known maps kinds of newer builds, and the absence of one, to Internal.
func known(k Kind) Kind {
	if _, ok := errpb.Kind_name[int32(k)]; !ok || k == errpb.Kind_KIND_UNSPECIFIED {
		return Internal
	}
	return k
}

// message is the text of err without the "rpc error: code = ..." of a bare
// gRPC status.
func message(err error) string {
	if direct, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return direct.GRPCStatus().Message()
	}
	return err.Error()
}
