package session

import (
	"context"
	"sync"

	"github.com/hashicorp/go-hclog"

	"waypoint/errs"
	"waypoint/internal/task"
)

// lifeline ties streams and goroutines to the Run of a registry.
type lifeline struct {
	logger  hclog.Logger
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

// spawn starts fn, for which finish waits. It returns false after that. A panic
// in fn is logged and does not end the node.
func (l *lifeline) spawn(fn func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.tasks.Go(survivor(l.logger, fn))
	return true
}

// survivor returns fn so that a panic in it is logged and goes no further.
func survivor(logger hclog.Logger, fn func()) func() {
	return func() {
		if err := task.Protect(func() error { fn(); return nil }); err != nil {
			logger.Error("a defect ended a task of a session", "error", err)
		}
	}
}

// errDefect ends a stream whose task has panicked.
func errDefect() error {
	return errs.New(errs.Internal, "a defect of this node has ended the stream: its log says more")
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
