package session_test

import (
	"context"
	"errors"
	"testing"

	"waypoint/api/entrypointpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/task"
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
		ctx, end := context.WithCancelCause(t.Context())
		err := task.Protect(func() error {
			return n.Attach(ctx, end, &broken[entrypointpb.Up, entrypointpb.Down]{first}, deployment)
		})
		if panicked := (*task.PanicError)(nil); !errors.As(err, &panicked) {
			t.Errorf("attach ended with %v", err)
		}
		if attached := n.Attached(); attached != 0 {
			t.Errorf("%d are attached after it", attached)
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
