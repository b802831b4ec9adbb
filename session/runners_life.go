package session

import (
	"context"
	"sync"
)

// lifeline ties streams and goroutines to the Run of a registry.
type lifeline struct {
	started chan struct{}   // closed when Run has begun
	base    context.Context // Run's, once it has begun

	mu     sync.Mutex
	closed bool // nothing is spawned any more
	tasks  sync.WaitGroup
}

// begin lets streams in. The function it returns ends them all and waits.
func (l *lifeline) begin(ctx context.Context) (finish func()) {
	base, cancel := context.WithCancelCause(ctx)
	l.base = base
	close(l.started)
	return func() {
		cancel(errShutdown())
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.tasks.Wait()
	}
}

// spawn starts fn, for which finish waits. It returns false after that.
func (l *lifeline) spawn(fn func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.tasks.Go(fn)
	return true
}

// enter returns ctx, which then also ends with Run, once Run has begun.
func (l *lifeline) enter(ctx context.Context) (context.Context, context.CancelCauseFunc, error) {
	select {
	case <-l.started:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.base, func() { cancel(context.Cause(l.base)) })
	return ctx, func(cause error) { stop(); cancel(cause) }, nil
}
