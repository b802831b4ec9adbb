package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/internal/task"
)

// wedged is how long Raft may say that it is handing leadership over before the
// process is given up: a transfer takes no longer than an election.
const wedged = 10 * time.Second

// takeOver bounds the wait for a node that leads to be ready to.
const takeOver = time.Second

var (
	errLeadershipLost = errors.New("leadership was lost")
	errTaskFailed     = errors.New("a leader task failed")
)

// Leader is what a leader task works with.
type Leader interface {
	// Apply applies a command in this leader's term or not at all. It is never
	// forwarded and never tried again. The command is not changed.
	Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error)
	// Term returns the term in which this node leads.
	Term() uint64
}

// tenure is one node's time as leader.
type tenure struct {
	term    uint64
	since   time.Time
	batches *proposer
}

var _ Leader = (*tenure)(nil)

// Term implements Leader.
func (t *tenure) Term() uint64 { return t.term }

// Apply implements Leader.
func (t *tenure) Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error) {
	own := proto.CloneOf(cmd)
	own.Term = t.term
	res, err := t.batches.submit(ctx, own)
	if err != nil {
		return nil, err
	}
	return res, errs.FromProto(res.GetError())
}

// leadership runs what only the leader does, while this node leads.
type leadership struct {
	*node
	batches *proposer
	time    *clusterTime
	notify  chan bool // Raft's; never blocks it for long, because drain reads
	woken   chan struct{}
	tasks   []leaderTask
	ready   atomic.Pointer[tenure]

	mu     sync.Mutex
	cancel context.CancelCauseFunc // ends the tenure that runs; nil: none
	term   uint64                  // of that tenure
	turned chan struct{}           // closed when ready changes, or Raft tells of a change
}

type leaderTask struct {
	name string
	run  func(ctx context.Context, lead Leader) error
}

// WhileLeader registers what this node does while it leads. Run is called each
// time the node has become leader and has applied everything from before, with
// a context that ends with leadership. If it fails while the node still leads,
// the node hands leadership over. Register before Run.
func (l *leadership) WhileLeader(name string, run func(ctx context.Context, lead Leader) error) {
	l.tasks = append(l.tasks, leaderTask{name, run})
}

// leading returns the tenure if this node leads and is ready to.
func (l *leadership) leading() *tenure {
	t := l.ready.Load()
	if t == nil || !l.holds(t.term) {
		return nil
	}
	return t
}

// taking returns the tenure like leading. If this node leads but is not ready
// to, it waits for that up to a second: whoever has found the new leader would
// otherwise have to guess when to try again.
func (l *leadership) taking(ctx context.Context) *tenure {
	if t := l.leading(); t != nil || l.raft.State() != raft.Leader {
		return t
	}
	ctx, cancel := context.WithTimeout(ctx, takeOver)
	defer cancel()
	for {
		l.mu.Lock()
		turned := l.turned
		l.mu.Unlock()
		if t := l.leading(); t != nil || l.raft.State() != raft.Leader {
			return t
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return nil
		}
	}
}

// turn wakes those who wait for a tenure. The caller holds mu.
func (l *leadership) turn() {
	close(l.turned)
	l.turned = make(chan struct{})
}

func (l *leadership) holds(term uint64) bool {
	return l.raft.State() == raft.Leader && l.raft.CurrentTerm() == term
}

// drain takes Raft's notices at once, since Raft waits until they are taken. It
// ends a tenure that is over; reading the notices alone would not do, because
// leadership may be lost and won again in between.
func (l *leadership) drain(ctx context.Context) error {
	for {
		select {
		case <-l.notify:
		case <-ctx.Done():
			return nil
		}
		l.mu.Lock()
		if l.cancel != nil && !l.holds(l.term) {
			l.ready.Store(nil)
			l.cancel(errLeadershipLost)
		}
		l.turn()
		l.mu.Unlock()
		select {
		case l.woken <- struct{}{}:
		default:
		}
	}
}

// run leads whenever Raft says so, until ctx ends.
func (l *leadership) run(ctx context.Context) error {
	pause := backoff.New(100*time.Millisecond, 5*time.Second)
	var stuck time.Time
	for {
		for l.raft.State() == raft.Leader && ctx.Err() == nil {
			err := l.reign(ctx)
			switch {
			case err == nil:
				stuck = time.Time{}
				pause.Reset()
				continue
			case errors.Is(err, raft.ErrLeadershipTransferInProgress) && stuck.IsZero():
				stuck = time.Now()
			case errors.Is(err, raft.ErrLeadershipTransferInProgress) && time.Since(stuck) > wedged:
				l.dead.pass(fmt.Errorf("raft has been handing leadership over for more than %v", wedged))
			case errors.Is(err, errTaskFailed):
				if err := l.transfer(); err != nil {
					l.logger.Warn("could not hand leadership over", "error", err)
				}
			}
			if pause.Wait(ctx) != nil {
				break
			}
		}
		select {
		case <-l.woken:
		case <-ctx.Done():
			return nil
		}
	}
}

// reign is one tenure. It returns when that is over and all tasks have ended:
// nil if leadership was lost.
func (l *leadership) reign(ctx context.Context) error {
	t := &tenure{term: l.raft.CurrentTerm(), since: time.Now(), batches: l.batches}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errLeadershipLost)
	l.mu.Lock()
	l.cancel, l.term = cancel, t.term
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ready.Store(nil)
		l.cancel = nil
	}()
	// Before this, the state may lack what former leaders have committed.
	err := l.raft.Barrier(l.tune.IO).Error()
	if !l.holds(t.term) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("apply what was committed before: %w", err)
	}
	l.time.begin(ctx)
	l.mu.Lock()
	if ctx.Err() == nil {
		l.ready.Store(t)
		l.turn()
	}
	l.mu.Unlock()
	l.logger.Info("leading", "term", t.term)
	if err := l.work(ctx, cancel, t); err != nil && l.holds(t.term) {
		return err
	}
	return nil
}

// work runs the tasks until the tenure ends or one fails.
func (l *leadership) work(ctx context.Context, cancel context.CancelCauseFunc, t *tenure) error {
	var running sync.WaitGroup
	for _, job := range l.tasks {
		running.Go(func() {
			err := task.Protect(func() error { return job.run(ctx, t) })
			if err == nil || ctx.Err() != nil {
				return
			}
			l.logger.Error("leader task failed", "task", job.name, "error", err)
			cancel(errTaskFailed)
		})
	}
	<-ctx.Done()
	running.Wait()
	if errors.Is(context.Cause(ctx), errTaskFailed) {
		return errTaskFailed
	}
	return nil
}
