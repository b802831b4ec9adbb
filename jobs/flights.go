package jobs

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/commandpb"
	"waypoint/errs"
)

// flights are the commands about jobs that are on their way into the state, at
// most one about each job.
type flights struct {
	lead   Leader
	logger hclog.Logger
	landed chan struct{} // holds a token after one has arrived
	tasks  sync.WaitGroup

	mu    sync.Mutex
	byJob map[string]string // the runner that the job is given to; empty: something else
}

func newFlights(lead Leader, logger hclog.Logger) *flights {
	return &flights{lead: lead, logger: logger, landed: make(chan struct{}, 1), byJob: map[string]string{}}
}

// given returns which jobs are about to be given to which runner.
func (f *flights) given() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	given := make(map[string]string, len(f.byJob))
	for job, runner := range f.byJob {
		if runner != "" {
			given[job] = runner
		}
	}
	return given
}

// assign gives a job to a runner.
func (f *flights) assign(ctx context.Context, job, runner string) {
	f.start(ctx, job, runner, &commandpb.Command{Kind: &commandpb.Command_JobAssign{
		JobAssign: &commandpb.JobAssign{Id: job, RunnerId: runner},
	}})
}

// start sends a command about a job. It returns false if there is one about the
// job already, or too many are on their way.
func (f *flights) start(ctx context.Context, job, runner string, cmd *commandpb.Command) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, flying := f.byJob[job]; flying || len(f.byJob) >= applyLimit {
		return false
	}
	f.byJob[job] = runner
	f.tasks.Go(func() {
		if !f.apply(ctx, cmd) {
			f.rest(ctx)
		}
		f.land(job)
	})
	return true
}

// apply returns false if the command should be tried again. A refusal says that
// the state has moved on.
func (f *flights) apply(ctx context.Context, cmd *commandpb.Command) bool {
	_, err := f.lead.Apply(ctx, cmd)
	if err == nil || refusal(err) {
		return true
	}
	if ctx.Err() == nil {
		f.logger.Warn("cannot apply", "command", cmd.String(), "error", err)
	}
	return false
}

// rest keeps a job from being tried again at once.
func (f *flights) rest(ctx context.Context) {
	timer := time.NewTimer(retryPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (f *flights) land(job string) {
	f.mu.Lock()
	delete(f.byJob, job)
	f.mu.Unlock()
	select {
	case f.landed <- struct{}{}:
	default:
	}
}

// wait returns when nothing is on its way any more.
func (f *flights) wait() { f.tasks.Wait() }

func refusal(err error) bool {
	switch errs.KindOf(err) {
	case errs.Conflict, errs.NotFound, errs.AlreadyExists:
		return true
	}
	return false
}
