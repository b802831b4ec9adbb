package errs

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waypoint/api/errpb"
)

// ToStatus returns err as a gRPC status error with an errpb.Error as its
// detail, and nil for nil.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	return toStatus(ToProto(err)).Err()
}

// GRPCStatus lets a handler return an *Error as it is: gRPC sends it like the
// result of ToStatus.
func (e *Error) GRPCStatus() *status.Status {
	return toStatus(&errpb.Error{Kind: known(e.Kind), Message: e.Message, Id: e.ID, Protocol: e.Mismatch})
}

func toStatus(p *errpb.Error) *status.Status {
	s := status.New(codeOfKind(p.GetKind()), p.GetMessage())
	if with, err := s.WithDetails(p); err == nil {
		return with
	}
	return s
}

// FromStatus turns the error of a gRPC call into an *Error again. An error
// that holds an *Error already is returned as it is, and so is nil. The
// original stays reachable through Unwrap.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	s, ok := fromGRPC(err)
	if !ok {
		return &Error{Kind: KindOf(err), Message: err.Error(), cause: err}
	}
	if d := detail(s); d != nil {
		return fromProto(d, err)
	}
	return &Error{Kind: kindOfCode(s.Code()), Message: s.Message(), cause: err}
}

// fromGRPC finds the gRPC status in err's tree, if there is one.
func fromGRPC(err error) (*status.Status, bool) {
	var holder interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &holder) {
		return nil, false
	}
	s := holder.GRPCStatus()
	return s, s != nil
}

func detail(s *status.Status) *errpb.Error {
	for _, d := range s.Details() {
		if p, ok := d.(*errpb.Error); ok {
			return p
		}
	}
	return nil
}

func codeOfKind(k Kind) codes.Code {
	switch k {
	case Invalid:
		return codes.InvalidArgument
	case NotFound:
		return codes.NotFound
	case AlreadyExists:
		return codes.AlreadyExists
	case Conflict, Protocol:
		return codes.FailedPrecondition
	case Unauthenticated:
		return codes.Unauthenticated
	case PermissionDenied:
		return codes.PermissionDenied
	case Unavailable:
		return codes.Unavailable
	case OutcomeUnknown:
		return codes.Unknown
	case Exhausted:
		return codes.ResourceExhausted
	case Canceled:
		return codes.Canceled
	case Deadline:
		return codes.DeadlineExceeded
	case StaleAttempt:
		return codes.Aborted
	case Unimplemented:
		return codes.Unimplemented
	default:
		return codes.Internal
	}
}

// kindOfCode is for statuses that carry no detail: those that gRPC itself or
// something between the two sides has made.
func kindOfCode(c codes.Code) Kind {
	switch c {
	case codes.InvalidArgument, codes.OutOfRange:
		return Invalid
	case codes.NotFound:
		return NotFound
	case codes.AlreadyExists:
		return AlreadyExists
	case codes.FailedPrecondition:
		return Conflict
	case codes.Unauthenticated:
		return Unauthenticated
	case codes.PermissionDenied:
		return PermissionDenied
	case codes.Unavailable:
		return Unavailable
	case codes.Unknown:
		return OutcomeUnknown
	case codes.ResourceExhausted:
		return Exhausted
	case codes.Canceled:
		return Canceled
	case codes.DeadlineExceeded:
		return Deadline
	case codes.Aborted:
		return StaleAttempt
	case codes.Unimplemented:
		return Unimplemented
	default:
		return Internal
	}
}
