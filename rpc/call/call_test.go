package call_test

import (
	"context"
	"errors"
	"testing"

	"waypoint/api/commandpb"
	"waypoint/api/policypb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/call"
)

func TestCommandsOfACallAreNumbered(t *testing.T) {
	id := ids.New()
	for request, want := range map[string][]string{
		id:        {id, id + "/1", id + "/2"},
		id + "/1": {id + "/1", id + "/257", id + "/258"},
	} {
		ctx := call.With(t.Context(), &call.Info{RequestID: request, TokenID: "token"})
		for n := range want {
			cmd := call.Command(ctx, n, &commandpb.Command_Noop{Noop: &commandpb.Noop{}})
			if cmd.GetRequestId() != want[n] || cmd.GetTokenId() != "token" || cmd.GetNoop() == nil {
				t.Errorf("command %d of %s: %v", n, request, cmd)
			}
		}
	}
}

func TestIDsDependOnTheRequestOnly(t *testing.T) {
	one := call.With(t.Context(), &call.Info{RequestID: ids.New()})
	two := call.With(t.Context(), &call.Info{RequestID: ids.New()})
	first, again := call.ID(one, 0), call.ID(one, 0)
	if first != again || first == call.ID(one, 1) || call.ID(one, 0) == call.ID(two, 0) {
		t.Error("ids are not a function of request and number")
	}
	if born, err := call.Birth(one); err != nil || born.IsZero() {
		t.Errorf("birth %v %v", born, err)
	}
	if _, err := call.Birth(t.Context()); !errs.Is(err, errs.Invalid) {
		t.Errorf("birth of no request: %v", err)
	}
}

func TestContextWithoutACallIsAnonymous(t *testing.T) {
	if info := call.From(t.Context()); info.Caller != policypb.Caller_CALLER_ANONYMOUS || info.TokenID != "" {
		t.Errorf("info %v %v", info.Caller, info.TokenID)
	}
}

type applier struct{ err error }

func (a applier) Apply(context.Context, *commandpb.Command) (*commandpb.Result, error) {
	return &commandpb.Result{Index: 7}, a.err
}

func TestHighestWriteIsObserved(t *testing.T) {
	info := &call.Info{RequestID: ids.New()}
	ctx := call.With(t.Context(), info)
	if _, err := call.Apply(ctx, applier{}, 0, nil); err != nil || info.Observed() != 7 {
		t.Errorf("observed %d, %v", info.Observed(), err)
	}
	info.Observe(3)
	if info.Observed() != 7 {
		t.Error("an older index replaced a newer one")
	}
	refusal := errors.New("refused")
	if _, err := call.Apply(ctx, applier{err: refusal}, 0, nil); !errors.Is(err, refusal) {
		t.Errorf("refusal became %v", err)
	}
}
