package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/errs"
)

const (
	// maxEntry is the size of a log entry in bytes. Larger ones hold up
	// heartbeats and everybody behind them.
	maxEntry = 512 << 10
	// MaxCommand is the size in bytes of the largest command that is taken.
	MaxCommand = maxEntry - 4<<10
	// entryCommands bounds the commands of an entry.
	entryCommands = 256
	// waitingCommands bounds the commands that wait for an entry or a message.
	waitingCommands = 1024
	// enqueueLimit bounds how long Raft may take to look at an entry.
	enqueueLimit = 5 * time.Second
)

// proposal is a command on its way, and the place for what becomes of it. A
// result without an index does not come from the state machine: its error says
// why the command did not get there (Unavailable), or perhaps did
// (OutcomeUnknown).
type proposal struct {
	cmd  *commandpb.Command
	size int
	done chan *commandpb.Result // one slot
}

func newProposal(cmd *commandpb.Command) (*proposal, error) {
	size := proto.Size(cmd)
	if size > MaxCommand {
		return nil, errs.New(errs.Exhausted, "the change is too large: %d bytes, at most %d", size, MaxCommand)
	}
	return &proposal{cmd: cmd, size: size, done: make(chan *commandpb.Result, 1)}, nil
}

func (p *proposal) fail(err error) {
	p.done <- &commandpb.Result{Error: errs.ToProto(err)}
}

// answered says whether the state machine has decided.
func answered(res *commandpb.Result) bool { return res.GetIndex() != 0 }

// queue is where proposals wait.
type queue struct {
	waiting chan *proposal
	closed  chan struct{}
	held    *proposal // taken, but did not fit into the batch before
}

func newQueue() *queue {
	return &queue{waiting: make(chan *proposal, waitingCommands), closed: make(chan struct{})}
}

// put enters a proposal; the error says that it was not.
func (q *queue) put(ctx context.Context, p *proposal) error {
	select {
	case q.waiting <- p:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the cluster to take a command: %w", ctx.Err())
	case <-q.closed:
		return errShutdown
	}
}

// wait returns what became of a proposal that was put.
func (q *queue) wait(ctx context.Context, p *proposal) (*commandpb.Result, error) {
	select {
	case res := <-p.done:
		return res, nil
	case <-ctx.Done():
		return nil, errs.New(errs.OutcomeUnknown, "wait for a command: %w", ctx.Err())
	case <-q.closed:
		// The last answers may have been given just before.
		select {
		case res := <-p.done:
			return res, nil
		default:
			return nil, errs.New(errs.OutcomeUnknown, "this node is shutting down; the change may have been made")
		}
	}
}

// gather returns the proposals that wait, within bounds, and blocks until there
// is one; nil when ctx ends.
func (q *queue) gather(ctx context.Context, maxCount, maxBytes int) []*proposal {
	first := q.held
	q.held = nil
	if first == nil {
		select {
		case first = <-q.waiting:
		case <-ctx.Done():
			return nil
		}
	}
	batch, bytes := []*proposal{first}, first.size
	for len(batch) < maxCount {
		select {
		case p := <-q.waiting:
			if bytes+p.size > maxBytes {
				q.held = p
				return batch
			}
			batch, bytes = append(batch, p), bytes+p.size
		default:
			return batch
		}
	}
	return batch
}

// errShutdown ends every try: nothing will ever be taken here again.
var errShutdown = errs.New(errs.Unavailable, "this node is shutting down")

// proposer is the leader's way into the log: commands that wait at the same
// time become one entry.
type proposer struct {
	*node
	*queue
	leading func() *tenure
	now     func() time.Time // the cluster's
	// inFlight has no room, so that two entries are on their way: one whose
	// answer is awaited, and the next. Meanwhile commands gather: an entry costs
	// every node more than a command in it.
	inFlight chan entryInFlight
	last     int64 // time of the newest entry, unix nanoseconds
}

type entryInFlight struct {
	future raft.ApplyFuture
	batch  []*proposal
}

func newProposer(n *node, leading func() *tenure, now func() time.Time) *proposer {
	return &proposer{node: n, queue: newQueue(), leading: leading, now: now, inFlight: make(chan entryInFlight)}
}

// submit has one command decided on. The error says that the state machine has
// not, with the kind OutcomeUnknown if it still may.
func (p *proposer) submit(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error) {
	prop, err := newProposal(cmd)
	if err != nil {
		return nil, err
	}
	if err := p.put(ctx, prop); err != nil {
		return nil, err
	}
	res, err := p.wait(ctx, prop)
	if err == nil && !answered(res) {
		return nil, errs.FromProto(res.GetError())
	}
	return res, err
}

// run makes entries until ctx ends.
func (p *proposer) run(ctx context.Context) error {
	defer close(p.inFlight)
	for {
		batch := p.gather(ctx, entryCommands, maxEntry)
		if batch == nil {
			return nil
		}
		p.propose(batch)
	}
}

// propose starts one entry. Commands of another tenure never get into it.
func (p *proposer) propose(batch []*proposal) {
	t := p.leading()
	entry := &commandpb.Entry{}
	taken := batch[:0]
	for _, prop := range batch {
		switch {
		case t == nil:
			prop.fail(errs.New(errs.Unavailable, "this node does not lead"))
		case prop.cmd.GetTerm() != 0 && prop.cmd.GetTerm() != t.term:
			prop.fail(errs.New(errs.StaleAttempt, "this node led in term %d, now in %d", prop.cmd.GetTerm(), t.term))
		default:
			taken = append(taken, prop)
			entry.Commands = append(entry.Commands, prop.cmd)
		}
	}
	if len(taken) == 0 {
		return
	}
	p.last = max(p.last, unixNano(p.now()), unixNano(p.store.Meta().Time))
	entry.Time = p.last
	data, err := proto.Marshal(entry)
	if err != nil {
		for _, prop := range taken {
			prop.fail(errs.New(errs.Internal, "encode log entry: %w", err))
		}
		return
	}
	p.inFlight <- entryInFlight{p.raft.Apply(data, enqueueLimit), taken}
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// answer hands out the results of entries, in order, until run has ended.
func (p *proposer) answer(context.Context) error {
	defer close(p.closed)
	for e := range p.inFlight {
		results, err := outcome(e.future, len(e.batch))
		for i, prop := range e.batch {
			if err != nil {
				prop.fail(err)
				continue
			}
			prop.done <- results[i]
		}
		p.spread()
	}
	return nil
}

// spread tells the followers of the commit. The index is read between two looks
// at the leadership: what a follower has committed says nothing in the term that
// it once led.
func (p *proposer) spread() {
	t := p.leading()
	if t == nil {
		return
	}
	if commit := p.raft.CommitIndex(); p.leading() == t {
		p.trans.PushCommit(t.term, commit)
	}
}

// outcome unwraps what Raft says of an entry. This is the only place that does.
func outcome(future raft.ApplyFuture, commands int) ([]*commandpb.Result, error) {
	switch err := future.Error(); {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return nil, errs.New(errs.Unavailable, "this node does not lead: %w", err)
	default:
		return nil, errs.New(errs.OutcomeUnknown, "the change may have been made: %w", err)
	}
	results, ok := future.Response().([]*commandpb.Result)
	if !ok || len(results) != commands {
		return nil, errs.New(errs.Internal, "the state machine gave %T for %d commands", future.Response(), commands)
	}
	return results, nil
}
