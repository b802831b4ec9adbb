package task_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"waypoint/internal/task"
)

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestFirstErrorEndsTheOthersAndIsReturned(t *testing.T) {
	var ended atomic.Int32
	other := func(ctx context.Context) error {
		defer ended.Add(1)
		return untilDone(ctx)
	}
	err := task.Run(t.Context(), other, func(context.Context) error { return io.ErrUnexpectedEOF }, other)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Run = %v, want the first error", err)
	}
	if ended.Load() != 2 {
		t.Errorf("Run returned when %d of 2 had ended", ended.Load())
	}
}

func TestReturningNilEndsNothing(t *testing.T) {
	done := make(chan struct{})
	err := task.Run(t.Context(),
		func(context.Context) error { return nil },
		func(ctx context.Context) error {
			select {
			case <-done:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		func(context.Context) error { close(done); return nil },
	)
	if err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestOthersLearnWhyTheyEnd(t *testing.T) {
	var cause error
	_ = task.Run(t.Context(),
		func(ctx context.Context) error { <-ctx.Done(); cause = context.Cause(ctx); return nil },
		func(context.Context) error { return io.ErrClosedPipe },
	)
	if !errors.Is(cause, io.ErrClosedPipe) {
		t.Errorf("cause is %v", cause)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := task.Run(ctx, untilDone, untilDone); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
}

func TestAPanicIsAnError(t *testing.T) {
	err := task.Run(t.Context(), untilDone, func(context.Context) error { panic(io.ErrNoProgress) })
	var p *task.PanicError
	if !errors.As(err, &p) {
		t.Fatalf("Run = %v", err)
	}
	if !errors.Is(err, io.ErrNoProgress) || !strings.Contains(err.Error(), "task_test.go") {
		t.Errorf("the panic's value or place is missing: %v", err)
	}
	if task.Protect(func() error { panic("text") }).Error() == "" {
		t.Error("a panic with a text is lost")
	}
}

func TestGroupNamesWhatFailed(t *testing.T) {
	g := task.NewGroup(t.Context())
	g.Go("gossip", func(context.Context) error { return io.EOF })
	g.Go("raft", untilDone)
	if err := g.Wait(); !errors.Is(err, io.EOF) || err.Error() != "gossip: EOF" {
		t.Errorf("Wait = %v", err)
	}
}

func TestGroupCanBeStoppedAndStartedFromInside(t *testing.T) {
	g := task.NewGroup(t.Context())
	g.Go("outer", func(context.Context) error {
		g.Go("inner", func(context.Context) error { g.Stop(); return nil })
		return nil
	})
	g.Go("", func(ctx context.Context) error { <-ctx.Done(); return nil })
	if err := g.Wait(); err != nil {
		t.Errorf("Wait = %v", err)
	}
}
