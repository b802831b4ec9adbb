package backoff_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"waypoint/internal/backoff"
)

func TestPausesDoubleUpToTheBound(t *testing.T) {
	b := backoff.New(100*time.Millisecond, 450*time.Millisecond)
	for _, step := range []time.Duration{100, 200, 400, 450, 450} {
		step *= time.Millisecond
		if got := b.Next(); got < step/2 || got > step {
			t.Errorf("pause is %v, want %v to %v", got, step/2, step)
		}
	}
	b.Reset()
	if got := b.Next(); got > 100*time.Millisecond {
		t.Errorf("the first pause after a reset is %v", got)
	}
}

func TestPausesAreJittered(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 50 {
		seen[backoff.New(time.Hour, time.Hour).Next()] = true
	}
	if len(seen) < 40 {
		t.Errorf("50 clients wait only %d different times", len(seen))
	}
}

func TestBoundsThatMakeNoSense(t *testing.T) {
	for _, b := range []*backoff.Backoff{backoff.New(0, 0), backoff.New(-1, -1), backoff.New(time.Nanosecond, 0), backoff.New(time.Hour, 1<<63-1)} {
		for range 100 {
			if got := b.Next(); got < 0 {
				t.Fatalf("pause is %v", got)
			}
		}
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := backoff.New(time.Hour, time.Hour).Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v", err)
	}
	if err := backoff.New(time.Millisecond, time.Millisecond).Wait(t.Context()); err != nil {
		t.Errorf("Wait = %v", err)
	}
}
