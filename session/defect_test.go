package session_test

import (
	"testing"

	"waypoint/api/entrypointpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/rpctest"
	"waypoint/session"
	"waypoint/session/sessiontest"
)

// broken is a stream whose side of this node has a defect.
type broken[Up, Down any] struct {
	first *Up // received before Recv panics; nil: Recv panics
}

func (b *broken[Up, Down]) Send(*Down) error { panic("defect") }

func (b *broken[Up, Down]) Recv() (*Up, error) {
	if b.first == nil {
		panic("defect")
	}
	first := b.first
	b.first = nil
	return first, nil
}

func TestDefectEndsTheStreamAndNotTheNode(t *testing.T) {
	f := rpctest.New(t)
	deployment, _ := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, nil)
	hello := &entrypointpb.Up{Kind: &entrypointpb.Up_Hello{Hello: &entrypointpb.Hello{InstanceId: ids.New(), Generation: 1}}}
	for _, first := range []*entrypointpb.Up{nil, hello} {
		err := n.Attach(t.Context(), &broken[entrypointpb.Up, entrypointpb.Down]{first}, deployment)
		if !errs.Is(err, errs.Internal) {
			t.Errorf("attach ended with %v", err)
		}
	}
	runners := session.NewRunners(session.RunnersConfig{Store: f.Store, Applier: f})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = runners.Run(t.Context())
	}()
	t.Cleanup(func() { <-done })
	err := runners.Session(t.Context(), &broken[runnerpb.Up, runnerpb.Down]{}, session.RunnerCaller{})
	if !errs.Is(err, errs.Internal) {
		t.Errorf("session ended with %v", err)
	}
}
