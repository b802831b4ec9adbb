package cluster

import (
	"cmp"
	"context"
	"errors"
	"time"

	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/internal/backoff"
)

const (
	// applyLimit bounds Apply: no election takes that long.
	applyLimit = 30 * time.Second
	// localLimit bounds the wait for this node to have applied what the leader
	// has answered.
	localLimit = time.Second
	// Pauses between tries while there is no leader.
	retryMin = 10 * time.Millisecond
	retryMax = 100 * time.Millisecond
)

// writes is the way of commands into the log from any node.
type writes struct {
	*node
	following *following
	taking    func(context.Context) *tenure
	proposer  *proposer
	forward   *forwarder
	noLeader  func() error
}

// Apply has a command carried out, wherever the leader is, and returns its
// result with the index set. A refusal by the state machine is returned as an
// error of its kind, beside the result. Apply tries again, with the same request
// id and so at most once, until ctx ends or for 30 s; then the error is
// Unavailable if the command was certainly not carried out, else OutcomeUnknown.
// Before it returns, it waits up to 1 s until this node has applied the command.
func (w *writes) Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error) {
	limited, cancel := context.WithTimeout(ctx, applyLimit)
	defer cancel()
	pause := backoff.New(retryMin, retryMax)
	var unknown error // of a try that may have been carried out
	for {
		_, _, changed := w.following.current()
		res, err := w.try(limited, cmd)
		switch {
		case err == nil && answered(res):
			w.settle(ctx, res.GetIndex())
			return res, errs.FromProto(res.GetError())
		case errs.Is(err, errs.OutcomeUnknown):
			unknown = err
			if cmd.GetRequestId() == "" {
				return nil, err
			}
		case errors.Is(err, errShutdown), !errs.Is(err, errs.Unavailable) && limited.Err() == nil:
			// That this try was refused says nothing of an earlier one.
			return nil, cmp.Or(unknown, err)
		}
		if rest(limited, pause, changed) != nil {
			return nil, w.giveUp(ctx, unknown)
		}
	}
}

// try hands a command over once.
func (w *writes) try(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error) {
	prop, err := newProposal(cmd)
	if err != nil {
		return nil, err
	}
	select {
	case <-w.forward.closed:
		return nil, errShutdown
	default:
	}
	way := w.forward.queue
	if w.taking(ctx) != nil {
		way = w.proposer.queue
	} else if leader := w.following.LeaderID(); leader == "" || leader == w.NodeID() {
		return nil, errs.New(errs.Unavailable, "there is no leader")
	}
	if err := way.put(ctx, prop); err != nil {
		return nil, err
	}
	res, err := way.wait(ctx, prop)
	if err == nil && !answered(res) {
		return nil, errs.FromProto(res.GetError())
	}
	return res, err
}

// rest pauses between two tries; a new leader ends the pause.
func rest(ctx context.Context, pause *backoff.Backoff, changed <-chan struct{}) error {
	timer := time.NewTimer(pause.Next())
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// giveUp says what is known of a command that was tried in vain.
func (w *writes) giveUp(ctx context.Context, unknown error) error {
	switch {
	case unknown != nil:
		return unknown
	case ctx.Err() != nil:
		return errs.New(errs.KindOf(ctx.Err()), "%w; the change was not made: %w", ctx.Err(), w.noLeader())
	}
	return w.noLeader()
}

// settle waits until this node has applied the index, so that whoever made the
// change reads it here. If that takes too long the change is made all the same,
// and the index that the caller gets protects its next read.
func (w *writes) settle(ctx context.Context, index uint64) {
	epoch, here := w.store.Index()
	if here >= index {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, localLimit)
	defer cancel()
	_ = w.store.WaitIndex(ctx, epoch, index)
}

// ApplyBatch carries out commands that another node has forwarded. It answers
// each, in order; a result without an index is of a command that was not, or not
// certainly, carried out. If this node does not lead, nothing is done and the
// error is Unavailable.
func (w *writes) ApplyBatch(ctx context.Context, cmds []*commandpb.Command) ([]*commandpb.Result, error) {
	if w.taking(ctx) == nil {
		return nil, errs.New(errs.Unavailable, "this node does not lead")
	}
	props := make([]*proposal, len(cmds))
	results := make([]*commandpb.Result, len(cmds))
	for i, cmd := range cmds {
		prop, err := newProposal(cmd)
		if err == nil && cmd.GetTerm() != 0 {
			err = errs.New(errs.Invalid, "a leader's command cannot be forwarded")
		}
		if err == nil {
			err = w.proposer.put(ctx, prop)
		}
		if err != nil {
			results[i] = &commandpb.Result{Error: errs.ToProto(err)}
			continue
		}
		props[i] = prop
	}
	for i, prop := range props {
		if prop == nil {
			continue
		}
		res, err := w.proposer.wait(ctx, prop)
		if err != nil {
			res = &commandpb.Result{Error: errs.ToProto(err)}
		}
		results[i] = res
	}
	return results, nil
}
