// Package jobs is the leader's task about jobs: it gives queued jobs to
// runners, holds the leases of those that run, ends attempts whose lease ran
// out, and prunes what retention no longer keeps.
//
// It must not know how commands travel nor what a job does. What it knows of
// runners and jobs it reads from the state; only the leases are its own, in
// memory, and a new leader starts every one of them afresh.
package jobs

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/types/known/durationpb"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/nodepb"
	"waypoint/internal/task"
	"waypoint/state"
)

// Leader applies commands as the leader of one term.
type Leader interface {
	Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error)
}

// Config says how the task works. Zero values stand for the defaults.
type Config struct {
	Store  *state.Store
	Logger hclog.Logger

	Lease        time.Duration // how long a runner may go on without a renewal; 15 s
	Margin       time.Duration // how much longer the leader waits; 2 s
	PruneEvery   time.Duration // 1 min
	JobsKeep     uint32        // ended jobs kept; 1,000
	SessionsKeep uint32        // records of exec sessions kept; 10,000
	InstanceAge  time.Duration // rows of ended instances and runners are kept so long; 1 h
}

// DefaultLease is the lease of a job's attempt where nothing else is said.
const DefaultLease = 15 * time.Second

const (
	pruneMax   = 500             // rows of each table that one prune removes
	applyLimit = 256             // commands under way at a time
	retryPause = time.Second     // after a failure that is no refusal
	maxWait    = 5 * time.Minute // without a change or a lease to look at
)

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&c.Lease, DefaultLease}, {&c.Margin, 2 * time.Second}, {&c.PruneEvery, time.Minute}, {&c.InstanceAge, time.Hour},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if c.JobsKeep == 0 {
		c.JobsKeep = 1000
	}
	if c.SessionsKeep == 0 {
		c.SessionsKeep = 10_000
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

// Jobs is the task. It exists on every node; it works where Run is called.
type Jobs struct {
	config Config
	leases *leases
}

// New returns the task of one node.
func New(config Config) *Jobs {
	config = config.withDefaults()
	return &Jobs{config: config, leases: newLeases(config.Store, config.Lease+config.Margin)}
}

// Run works as the leader until ctx ends. It is called once per term, never
// twice at a time.
func (j *Jobs) Run(ctx context.Context, lead Leader) error {
	j.leases.begin()
	defer j.leases.end()
	return task.Run(ctx,
		func(ctx context.Context) error { return j.match(ctx, lead) },
		func(ctx context.Context) error { return j.prune(ctx, lead) },
	)
}

// Renew prolongs the leases of attempts that are still current and tells for
// each whether it did. On a node that is not leading, or lags behind the one
// that asks for longer than a second, it returns nil: nothing is said about any
// attempt.
func (j *Jobs) Renew(ctx context.Context, renewals []*nodepb.Renewal) []bool {
	if !j.leases.isLeading() || !j.leases.awaitAttempts(ctx, renewals) {
		return nil
	}
	return j.leases.renew(renewals, time.Now())
}

// match gives out and takes back work whenever something changes. It does not
// wait for the commands: while some are on their way it goes on with what else
// there is to do.
func (j *Jobs) match(ctx context.Context, lead Leader) error {
	f := newFlights(lead, j.config.Logger)
	defer f.wait()
	for {
		given := f.given() // before the state is read: what lands between counts twice at most
		watch := state.NewWatchSet()
		watch.Also(f.landed)
		tx := j.config.Store.Read().Watch(watch)
		running := tx.Jobs(inState(jobpb.State_STATE_RUNNING))
		next := j.leases.follow(running, time.Now())
		for _, fence := range j.leases.expired(time.Now()) {
			j.expire(ctx, f, fence)
		}
		for _, pair := range assign(tx.QueuedJobs(), freeSlots(tx.Runners(), running, given), given) {
			f.assign(ctx, pair[0], pair[1])
		}
		wait := maxWait
		if next > 0 {
			wait = min(wait, next)
		}
		bounded, cancel := context.WithTimeout(ctx, wait)
		_ = watch.Wait(bounded)
		cancel()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// expire ends an attempt whose lease ran out.
func (j *Jobs) expire(ctx context.Context, f *flights, fence *deploymentpb.Fence) {
	started := f.start(ctx, fence.GetJobId(), "", &commandpb.Command{Kind: &commandpb.Command_JobExpire{JobExpire: &commandpb.JobExpire{
		Fence: fence, Reason: "its runner has not been heard of for " + (j.config.Lease + j.config.Margin).String(),
	}}})
	if started {
		j.config.Logger.Warn("lease ran out", "job", fence.GetJobId(), "attempt", fence.GetAttempt())
	}
}

// prune removes old rows from time to time.
func (j *Jobs) prune(ctx context.Context, lead Leader) error {
	ticker := time.NewTicker(j.config.PruneEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		cmd := &commandpb.Command{Kind: &commandpb.Command_Prune{Prune: &commandpb.Prune{
			Max: pruneMax, InstanceAge: durationpb.New(j.config.InstanceAge), JobsKeep: j.config.JobsKeep,
			ExecSessionsKeep: j.config.SessionsKeep,
		}}}
		if _, err := lead.Apply(ctx, cmd); err != nil && ctx.Err() == nil {
			j.config.Logger.Warn("cannot prune", "error", err)
		}
	}
}
