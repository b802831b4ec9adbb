package read_test

import (
	"context"
	"testing"
	"testing/synctest"

	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/rpc/call"
	"waypoint/rpc/read"
	"waypoint/rpc/rpctest"
	"waypoint/state"
)

func TestReadsAreFreshUnlessStale(t *testing.T) {
	f := rpctest.New(t)
	reader := f.Reader()
	if _, err := reader.Tx(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.OnFresh(func(context.Context) error { return errs.New(errs.Unavailable, "no quorum") })
	if _, err := reader.Tx(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Errorf("fresh read without a quorum: %v", err)
	}
	if _, err := reader.Tx(call.With(t.Context(), &call.Info{Stale: true})); err != nil {
		t.Errorf("stale read without a quorum: %v", err)
	}
}

func TestAtShowsTheWrite(t *testing.T) {
	f := rpctest.New(t)
	result := f.Do(&commandpb.Command_Noop{Noop: &commandpb.Noop{}})
	tx, err := f.Reader().At(t.Context(), result.GetIndex())
	if err != nil || tx.Meta().Index < result.GetIndex() {
		t.Fatalf("%v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Reader().At(gone, result.GetIndex()+1); !errs.Is(err, errs.Canceled) {
		t.Errorf("a caller that went away: %v", err)
	}
}

func TestAWriteThatIsNotSeenHereIsNotDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := read.New(state.New(), nil)
		_, err := reader.At(t.Context(), 1)
		if !errs.Is(err, errs.OutcomeUnknown) {
			t.Errorf("a write that was made, but is not seen here: %v (%v); unavailable would say that it was not made", err, errs.KindOf(err))
		}
	})
}
