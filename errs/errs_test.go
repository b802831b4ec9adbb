package errs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"waypoint/api/errpb"
	"waypoint/errs"
)

func TestEveryKindSurvivesTheWire(t *testing.T) {
	for number, name := range errpb.Kind_name {
		kind := errs.Kind(number)
		if kind == errpb.Kind_KIND_UNSPECIFIED {
			continue
		}
		t.Run(name, func(t *testing.T) {
			sent := errs.New(kind, "could not do it")
			sent.ID = "01ID"
			sent.Mismatch = &errpb.ProtocolMismatch{Protocol: "api", Upgrade: "client"}
			got := errs.FromStatus(errs.ToStatus(fmt.Errorf("set x: %w", sent)))
			var e *errs.Error
			if !errors.As(got, &e) {
				t.Fatalf("got %T, want *errs.Error", got)
			}
			if e.Kind != kind || e.Message != "set x: could not do it" || e.ID != sent.ID || !proto.Equal(e.Mismatch, sent.Mismatch) {
				t.Errorf("got %+v, want all of %+v", e, sent)
			}
		})
	}
}

func TestCodesAreThoseThatForeignClientsExpect(t *testing.T) {
	want := map[errs.Kind]codes.Code{
		errs.Internal:         codes.Internal,
		errs.Invalid:          codes.InvalidArgument,
		errs.NotFound:         codes.NotFound,
		errs.AlreadyExists:    codes.AlreadyExists,
		errs.Conflict:         codes.FailedPrecondition,
		errs.Unauthenticated:  codes.Unauthenticated,
		errs.PermissionDenied: codes.PermissionDenied,
		errs.Unavailable:      codes.Unavailable,
		errs.OutcomeUnknown:   codes.Unknown,
		errs.Exhausted:        codes.ResourceExhausted,
		errs.Protocol:         codes.FailedPrecondition,
		errs.Canceled:         codes.Canceled,
		errs.Deadline:         codes.DeadlineExceeded,
		errs.StaleAttempt:     codes.Aborted,
		errs.Unimplemented:    codes.Unimplemented,
	}
	if len(want) != len(errpb.Kind_name)-1 {
		t.Errorf("%d kinds have a code here, %d exist", len(want), len(errpb.Kind_name)-1)
	}
	for kind, code := range want {
		if got := status.Code(errs.ToStatus(errs.New(kind, "x"))); got != code {
			t.Errorf("%v has code %v, want %v", kind, got, code)
		}
		bare := status.Error(code, "from a proxy")
		if kind != errs.Protocol && errs.KindOf(bare) != kind {
			t.Errorf("code %v without a detail is %v, want %v", code, errs.KindOf(bare), kind)
		}
	}
}

func TestKindOf(t *testing.T) {
	refusal := errs.New(errs.NotFound, "no such app")
	tests := []struct {
		name string
		err  error
		want errs.Kind
	}{
		{"nil", nil, errpb.Kind_KIND_UNSPECIFIED},
		{"plain", io.EOF, errs.Internal},
		{"own", refusal, errs.NotFound},
		{"wrapped", fmt.Errorf("deploy: %w", refusal), errs.NotFound},
		{"joined", errors.Join(io.EOF, refusal), errs.NotFound},
		{"rewrapped as another kind", errs.New(errs.Conflict, "deploy: %w", refusal), errs.Conflict},
		{"status with detail", errs.ToStatus(refusal), errs.NotFound},
		{"wrapped status", fmt.Errorf("call: %w", status.Error(codes.Unavailable, "x")), errs.Unavailable},
		{"out of range", status.Error(codes.OutOfRange, "x"), errs.Invalid},
		{"data loss", status.Error(codes.DataLoss, "x"), errs.Internal},
		{"canceled", fmt.Errorf("read: %w", context.Canceled), errs.Canceled},
		{"deadline", context.DeadlineExceeded, errs.Deadline},
		{"kind left out", &errs.Error{Message: "x"}, errs.Internal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := errs.KindOf(tt.err); got != tt.want {
				t.Errorf("KindOf(%v) = %v, want %v", tt.err, got, tt.want)
			}
			if tt.err != nil && !errs.Is(tt.err, tt.want) {
				t.Errorf("Is(%v, %v) is false", tt.err, tt.want)
			}
		})
	}
	if errs.Is(nil, errpb.Kind_KIND_UNSPECIFIED) {
		t.Error("nil is of a kind")
	}
}

func TestNewKeepsItsCause(t *testing.T) {
	err := errs.New(errs.Unavailable, "read the log: %w", io.ErrUnexpectedEOF)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause cannot be found")
	}
	if want := "read the log: unexpected EOF"; err.Error() != want {
		t.Errorf("text is %q, want %q", err, want)
	}
	two := errs.New(errs.Internal, "%w and %w", io.EOF, io.ErrClosedPipe)
	if !errors.Is(two, io.EOF) || !errors.Is(two, io.ErrClosedPipe) {
		t.Error("one of two causes cannot be found")
	}
	if errs.New(errs.Invalid, "no cause").Unwrap() != nil {
		t.Error("a cause came from nowhere")
	}
}

func TestNilStaysNil(t *testing.T) {
	if errs.ToProto(nil) != nil || errs.FromProto(nil) != nil || errs.ToStatus(nil) != nil || errs.FromStatus(nil) != nil {
		t.Error("nil became an error")
	}
}

func TestAnErrorOfAHandlerIsSentAsItIs(t *testing.T) {
	sent := errs.New(errs.StaleAttempt, "attempt 2 is over")
	got := errs.FromStatus(status.Convert(sent).Err())
	if !errs.Is(got, errs.StaleAttempt) || got.Error() != sent.Message {
		t.Errorf("got %v (%v)", got, errs.KindOf(got))
	}
}

func TestFromStatus(t *testing.T) {
	bare := status.Error(codes.Unavailable, "connection refused")
	got := errs.FromStatus(bare)
	if got.Error() != "connection refused" || !errs.Is(got, errs.Unavailable) || !errors.Is(got, bare) {
		t.Errorf("a bare status became %v (%v)", got, errs.KindOf(got))
	}
	known := fmt.Errorf("x: %w", errs.New(errs.Conflict, "y"))
	if errs.FromStatus(known) != known {
		t.Error("an error that has a kind was changed")
	}
	plain := errs.FromStatus(context.Canceled)
	if !errs.Is(plain, errs.Canceled) || !errors.Is(plain, context.Canceled) {
		t.Errorf("a context's error became %v (%v)", plain, errs.KindOf(plain))
	}
}

func TestAKindOfANewerBuildIsInternal(t *testing.T) {
	newer := errs.FromProto(&errpb.Error{Kind: 4711, Message: "new"})
	if !errs.Is(newer, errs.Internal) {
		t.Errorf("got %v", errs.KindOf(newer))
	}
	st, err := status.New(codes.Unavailable, "new").WithDetails(&errpb.Error{Kind: 4711})
	if err != nil {
		t.Fatal(err)
	}
	if !errs.Is(st.Err(), errs.Internal) {
		t.Errorf("got %v", errs.KindOf(st.Err()))
	}
}

func TestToProtoOfABareStatusHasNoCodeInItsText(t *testing.T) {
	if got := errs.ToProto(status.Error(codes.NotFound, "no app")); got.GetMessage() != "no app" {
		t.Errorf("text is %q", got.GetMessage())
	}
}
