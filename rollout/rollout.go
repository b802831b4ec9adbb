// Package rollout is the leader's task about restarts: when a new configuration
// makes the instances of a deployment want to restart, it gives them their turn
// so that only a share of them is away at a time, and gives no more turns when
// those that restarted do not come back.
//
// It must not know how commands travel nor how an instance is told. All that it
// knows it reads from the state, so that a new leader goes on where the last one
// stopped.
package rollout

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/state"
)

// Leader applies commands as the leader of one term.
type Leader interface {
	Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error)
}

// Timing says how long things take. Zero values stand for the defaults.
type Timing struct {
	Settle    time.Duration // a child that has run for so long counts as available; 3 s
	FirstHold time.Duration // one with a configuration that none has run with for so long must run for this; 10 s
	Patience  time.Duration // for an instance to come back after its turn; 2 min
}

// Config says how the task works.
type Config struct {
	Timing
	Store  *state.Store
	Now    func() time.Time // the cluster's time; default: time.Now
	Logger hclog.Logger
}

const (
	pace       = 50 * time.Millisecond // at least, between two looks at the state
	retryPause = time.Second           // after a failure that is no refusal
)

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Settle == 0 {
		c.Settle = 3 * time.Second
	}
	if c.FirstHold == 0 {
		c.FirstHold = 10 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = 2 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

// Rollout is the task. It exists on every node; it works where Run is called.
type Rollout struct {
	config Config
	told   map[string]notice // by deployment: what the log has been told
}

// notice is what has been said about a deployment's restarts.
type notice struct {
	wanted  string    // configurations that are wanted
	blamed  string    // those because of which no more turns are given
	starved time.Time // since when no turn can be given for another reason; zero: one can
	told    bool      // that this lasts
}

// New returns the task of one node.
func New(config Config) *Rollout { return &Rollout{config: config.withDefaults()} }

// Run works as the leader until ctx ends. It is called once per term, never
// twice at a time. While no instance wants to restart it sleeps.
func (r *Rollout) Run(ctx context.Context, lead Leader) error {
	r.told = map[string]notice{}
	for {
		watch := state.NewWatchSet()
		tx := r.config.Store.Read().Watch(watch)
		cmds, next := r.plan(tx, r.now(tx))
		if !r.applyAll(ctx, lead, cmds) {
			next = retryPause
		}
		if err := pauseFor(ctx, pace); err != nil {
			return err
		}
		if err := waitFor(ctx, watch, next); err != nil {
			return err
		}
	}
}

// now is the time that an entry would get now.
func (r *Rollout) now(tx *state.Tx) time.Time {
	now := r.config.Now()
	if last := tx.Meta().Time; last.After(now) {
		return last
	}
	return now
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitFor waits for a change, or for as long as limit if that is not 0.
func waitFor(ctx context.Context, watch *state.WatchSet, limit time.Duration) error {
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if limit > 0 {
		bounded, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	_ = watch.Wait(bounded)
	return ctx.Err()
}

// plan returns the turns to give now, and after how long to look again although
// nothing has changed; 0 is never.
func (r *Rollout) plan(tx *state.Tx, now time.Time) (cmds []*commandpb.Command, next time.Duration) {
	wanting := tx.DeploymentsWantingRestarts()
	for _, id := range wanting {
		deployment := tx.Deployment(id)
		if deployment == nil || deployment.GetStatus() == deploymentpb.Status_STATUS_DESTROYED {
			continue
		}
		s := take(tx.InstancesOfDeployment(id), now, r.config.Timing)
		policy := tx.ConfigPolicy(deployment.GetApp().GetProject(), deployment.GetApp().GetApp())
		turns := s.turns(func(size int) int { return state.MaxUnavailable(policy, size) })
		r.tell(deployment, s, len(turns))
		cmds = append(cmds, grants(id, turns)...)
		if s.next > 0 && (next == 0 || s.next < next) {
			next = s.next
		}
	}
	for id := range r.told {
		if !slices.Contains(wanting, id) {
			delete(r.told, id)
		}
	}
	return cmds, next
}

// grants returns the commands that give the turns.
func grants(deploymentID string, turns []*deploymentpb.Instance) []*commandpb.Command {
	var cmds []*commandpb.Command
	for some := range slices.Chunk(turns, state.MaxRestartTurns) {
		grant := &commandpb.RestartGrant{DeploymentId: deploymentID}
		for _, i := range some {
			grant.Turns = append(grant.Turns, &commandpb.RestartGrant_Turn{
				InstanceId: i.GetId(), Starts: i.GetChildStarts(), Config: i.GetRestartWanted(),
			})
		}
		cmds = append(cmds, &commandpb.Command{Kind: &commandpb.Command_RestartGrant{RestartGrant: grant}})
	}
	return cmds
}

// applyAll applies the commands and returns false if they should be tried again.
// A refusal says that the state has moved on.
func (r *Rollout) applyAll(ctx context.Context, lead Leader, cmds []*commandpb.Command) bool {
	for _, cmd := range cmds {
		_, err := lead.Apply(ctx, cmd)
		switch {
		case err == nil || errs.KindOf(err) == errs.NotFound:
		case ctx.Err() != nil:
			return false
		default:
			r.config.Logger.Warn("cannot give instances their turn to restart yet: trying again",
				"deployment", cmd.GetRestartGrant().GetDeploymentId(), "error", err)
			return false
		}
	}
	return true
}

// tell says once per configuration that instances restart, once that no more
// will, and once that none can for a long time.
func (r *Rollout) tell(d *deploymentpb.Deployment, s *survey, turns int) {
	before, known := r.told[d.GetId()]
	now := notice{wanted: names(s.wanted)}
	switch {
	case s.halted(turns):
		now.blamed = names(s.blamed)
	case turns == 0:
		now.blamed = before.blamed
	}
	now.starve(before, s, turns)
	r.told[d.GetId()] = now
	about := []any{"deployment", d.GetId(), "project", d.GetApp().GetProject(), "app", d.GetApp().GetApp(),
		"workspace", d.GetApp().GetWorkspace(), "waiting", s.waiting(), "at a time", s.budget}
	switch {
	case now.blamed != "" && now.blamed != before.blamed:
		r.config.Logger.Warn("instances that restarted for a new configuration did not come back: "+
			"the others keep running with the one they have until it is changed again or new instances make up for them",
			append(about, "missing", s.stuck+s.missing())...)
	case now.told && !before.told:
		r.config.Logger.Warn("no instance can get its turn to restart, because others are away or do not keep running: "+
			"find out why they end (\"waypoint instance list -all\", the platform's events), or let more be away at a time "+
			"(\"waypoint config policy -max-unavailable\")",
			append(about, "away", s.unavailable, "since", now.starved.UTC().Format(time.RFC3339))...)
	case now.blamed == "" && !(known && before.wanted == now.wanted):
		r.config.Logger.Info("configuration changed: instances restart by turns", about...)
	}
}

// starve takes note of since when instances wait and none can get a turn,
// although none of those that had one is to blame, and of whether that has
// lasted for Patience.
func (n *notice) starve(before notice, s *survey, turns int) {
	n.told = before.told && n.wanted == before.wanted
	if turns > 0 || s.waiting() == 0 || s.halted(turns) {
		return
	}
	if n.starved = before.starved; n.starved.IsZero() {
		n.starved = s.now
	}
	n.told = !s.within(s.Patience, timestamppb.New(n.starved)) || n.told
}
