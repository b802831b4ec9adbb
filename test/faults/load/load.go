// Package load holds the workloads of the fault suite. Each one uses a running
// cluster as its users do, through every node, and keeps the history of what it
// did and saw; package check judges that. A workload neither breaks anything nor
// minds when somebody does: what a failure may not do is the checker's affair.
package load

import (
	"context"
	"sync"
	"time"

	"waypoint/errs"
	"waypoint/test/faults/check"
)

// Workload is one way of using a cluster.
type Workload interface {
	// Name says what it is, in one word.
	Name() string
	// Prepare makes what it needs, in a healthy cluster.
	Prepare(ctx context.Context) error
	// Run works until ctx ends, and finishes what has begun. An error says
	// that the workload itself is broken, not the cluster.
	Run(ctx context.Context) error
	// Check looks at what is left, in a cluster that is healthy again, and
	// judges the history. It also ends what Prepare has started.
	Check(ctx context.Context) *check.Verdict
}

// opLimit bounds one operation of a client, with all its attempts.
const opLimit = 10 * time.Second

// recorder keeps a history. All times in it come from one monotonic clock.
type recorder[T any] struct {
	began time.Time

	mu      sync.Mutex
	records []T
}

func newRecorder[T any]() *recorder[T] { return &recorder[T]{began: time.Now()} }

// now is the time of the history, in ns.
func (r *recorder[T]) now() int64 { return time.Since(r.began).Nanoseconds() }

func (r *recorder[T]) add(record T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, record)
}

func (r *recorder[T]) all() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]T(nil), r.records...)
}

// outcome is what a client may conclude from the error of a call that changes
// something.
func outcome(err error) check.Outcome {
	switch {
	case err == nil:
		return check.OK
	case errs.Is(err, errs.Unavailable):
		return check.NotDone
	case errs.Is(err, errs.Conflict):
		return check.Refused
	default:
		return check.Unknown
	}
}

// text is the error's, or empty.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// each calls do rate times a second, or as often as it can, until ctx ends.
func each(ctx context.Context, rate float64, do func(ctx context.Context)) {
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// What has begun is ended: how it ends belongs to the history.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), opLimit)
		do(bounded)
		cancel()
	}
}
