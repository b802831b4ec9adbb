package harness

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Writer writes again and again and notes when each write was acknowledged.
type Writer struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	acked  []time.Time
	failed int
	err    error
}

// StartWriter calls write, one call after the other, until Stop.
func StartWriter(ctx context.Context, write func(ctx context.Context, n int) error) *Writer {
	ctx, cancel := context.WithCancel(ctx)
	w := &Writer{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for n := 0; ctx.Err() == nil; n++ {
			w.note(ctx, write(ctx, n))
		}
	}()
	return w
}

func (w *Writer) note(ctx context.Context, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.acked = append(w.acked, time.Now())
	case ctx.Err() == nil: // not just stopped by us
		w.failed++
		w.err = err
	}
}

func (w *Writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// Await returns when n more writes have been acknowledged.
func (w *Writer) Await(ctx context.Context, n int, limit time.Duration) error {
	target := w.count() + n
	return Until(ctx, limit, func() error {
		if got := w.count(); got < target {
			_, _, last := w.Result()
			return fmt.Errorf("%d writes are missing (last error: %v)", target-got, last)
		}
		return nil
	})
}

// Stop ends the writing and waits for the write in flight.
func (w *Writer) Stop() {
	w.cancel()
	<-w.done
}

// Result returns the longest time between two acknowledged writes, how many
// writes failed and the newest failure.
func (w *Writer) Result() (gap time.Duration, failed int, last error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := 1; i < len(w.acked); i++ {
		gap = max(gap, w.acked[i].Sub(w.acked[i-1]))
	}
	return gap, w.failed, w.err
}
