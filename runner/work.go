package runner

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/runnerpb"
	"waypoint/internal/headtail"
	"waypoint/internal/task"
)

const (
	maxOutput     = 1 << 20   // bytes kept of an attempt's output: its first and last halves
	maxStoredZstd = 384 << 10 // of it after compression: it becomes part of one log entry
)

// workKey names an attempt.
type workKey struct {
	job     string
	attempt uint32
}

func keyOf(f *deploymentpb.Fence) workKey { return workKey{f.GetJobId(), f.GetAttempt()} }

func (k workKey) fence() *deploymentpb.Fence {
	return &deploymentpb.Fence{JobId: k.job, Attempt: k.attempt}
}

// work is an attempt from its assignment until its end has been recorded. It is
// the io.Writer of its output.
type work struct {
	runner *Runner
	key    workKey
	job    *jobpb.Job
	lease  time.Duration
	margin time.Duration
	buf    *headtail.Buffer
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	granted chan struct{} // closed by the first renewal
	begun   bool          // granted is closed
	until   time.Time     // end of the lease by this machine's clock, margin included
	stages  []stage
	finish  *runnerpb.Finish // set at the end
}

// stage is the newest that is to be said of a stage.
type stage struct {
	*jobpb.Stage
	version int
}

func newWork(r *Runner, assign *runnerpb.Assign) *work {
	job := assign.GetJob()
	lease := assign.GetLease().AsDuration()
	if lease <= 0 {
		lease = 15 * time.Second
	}
	w := &work{
		runner: r, job: job, key: workKey{job.GetId(), job.GetAttempt()},
		lease: lease, margin: lease * 2 / 15,
		buf:     headtail.New(maxOutput),
		granted: make(chan struct{}),
	}
	w.until = time.Now().Add(w.lease - w.margin)
	return w
}

// renewEvery is how often the lease is renewed.
func (w *work) renewEvery() time.Duration { return w.lease / 3 }

// renewed notes that the lease goes on, by a renewal that was sent at a time.
func (w *work) renewed(sent time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if until := sent.Add(w.lease - w.margin); until.After(w.until) {
		w.until = until
	}
	if !w.begun {
		w.begun = true
		close(w.granted)
	}
}

func (w *work) deadline() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.until
}

// stop ends the attempt with a cause.
func (w *work) stop(cause error) { w.cancel(cause) }

// run carries the attempt out. It begins with the first renewal: an assignment
// that took too long to arrive has been given to somebody else.
func (w *work) run(ctx context.Context) {
	defer w.cancel(nil)
	var guard sync.WaitGroup
	guarded, release := context.WithCancel(ctx)
	guard.Go(func() { w.guard(guarded) })
	var err error
	select {
	case <-w.granted:
		err = task.Protect(func() error { return newOperation(w).run(ctx) })
	case <-ctx.Done():
		err = ctx.Err()
	}
	release()
	guard.Wait()
	w.end(ctx, err)
}

// guard stops the attempt when its lease is over.
func (w *work) guard(ctx context.Context) {
	timer := time.NewTimer(time.Until(w.deadline()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		left := time.Until(w.deadline())
		if left <= 0 {
			w.stop(errLeaseLost)
			return
		}
		timer.Reset(left)
	}
}

// end says how the attempt ended. Of one that is not the job's any more nothing
// is said: the cluster has seen to it, or will when it misses the renewals.
func (w *work) end(ctx context.Context, err error) {
	w.buf.Close()
	cause := context.Cause(ctx)
	if errors.Is(cause, errLeaseLost) || errors.Is(cause, errStale) {
		w.runner.config.Logger.Warn("attempt given up", "job", w.key.job, "attempt", w.key.attempt, "cause", cause)
		w.runner.forget(w.key)
		return
	}
	finish := &runnerpb.Finish{Fence: w.key.fence(), State: jobpb.State_STATE_SUCCEEDED}
	switch {
	case err == nil:
	case errors.Is(cause, errCanceled):
		finish.State, finish.Error = jobpb.State_STATE_CANCELED, cause.Error()
	case errors.Is(cause, errStopped):
		finish.State, finish.Error = jobpb.State_STATE_FAILED, cause.Error()
	default:
		finish.State, finish.Error = jobpb.State_STATE_FAILED, text(err.Error())
	}
	w.pack(finish)
	w.mu.Lock()
	w.finish = finish
	w.mu.Unlock()
	w.runner.config.Logger.Info("job ended", "job", w.key.job, "attempt", w.key.attempt, "state", finish.GetState())
	w.runner.signal()
}

// pack puts the output into finish, less of it if it does not compress well.
func (w *work) pack(finish *runnerpb.Finish) {
	finish.OutputBytes = w.buf.Total()
	if finish.OutputBytes == 0 {
		return
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		w.runner.config.Logger.Error("cannot compress output", "error", err)
		finish.OutputTruncated = true
		return
	}
	defer encoder.Close()
	for limit := maxOutput; ; limit /= 2 {
		var text []byte
		text, finish.OutputTruncated = w.buf.Bytes(limit)
		if finish.OutputZstd = encoder.EncodeAll(text, nil); len(finish.OutputZstd) <= maxStoredZstd {
			return
		}
	}
}

// Write adds to the output. It never fails and never waits.
func (w *work) Write(p []byte) (int, error) {
	n, err := w.buf.Write(p)
	w.runner.signal()
	return n, err
}

// say notes how far a stage has come.
func (w *work) say(s *jobpb.Stage) {
	defer w.runner.signal()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.stages {
		if old := &w.stages[i]; old.GetName() == s.GetName() && old.GetApp() == s.GetApp() {
			*old = stage{s, old.version + 1}
			return
		}
	}
	w.stages = append(w.stages, stage{s, 1})
}

// said returns the stages and the end, if it has come.
func (w *work) said() ([]stage, *runnerpb.Finish) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]stage(nil), w.stages...), w.finish
}
