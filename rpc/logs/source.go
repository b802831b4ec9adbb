package logs

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"waypoint/api/deploymentpb"
	"waypoint/api/logspb"
	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/internal/backoff"
)

const (
	// reasonHomeLost is the reason of a gap whose lines went with a node.
	reasonHomeLost = "home node lost"
	// drainWait bounds what is spent on a former home for lines that the new
	// one may not have.
	drainWait = time.Second
	retryMin  = 100 * time.Millisecond
	retryMax  = 2 * time.Second
)

// errMoved ends the reading at a home that is no longer the instance's.
var errMoved = errors.New("instance has another home")

// source reads one instance, wherever its home is.
type source struct {
	cfg    Config
	id     string
	follow bool
	events chan<- event

	after    uint64 // last seq seen
	hasAfter bool
	tail     uint32
	lost     bool // a home was lost since the last line

	mu    sync.Mutex
	row   *deploymentpb.Instance // nil: the state has forgotten it
	moved chan struct{}          // closed when row changes
}

// newSource returns a source that begins where the caller wants it to; an
// instance that joins later is read from its first line on.
func newSource(cfg Config, row *deploymentpb.Instance, req *logspb.StreamRequest, first bool, events chan<- event) *source {
	s := &source{
		cfg: cfg, id: row.GetId(), row: row, follow: req.GetFollow(), events: events,
		tail: req.GetTail(), hasAfter: !first, moved: make(chan struct{}),
	}
	if after, ok := req.GetAfter()[s.id]; ok {
		s.after, s.hasAfter = after, true
	}
	return s
}

// set tells the source what the state says now.
func (s *source) set(row *deploymentpb.Instance) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.row == row {
		return
	}
	s.row = row
	close(s.moved)
	s.moved = make(chan struct{})
}

// current returns the instance's row, and a channel that is closed when the
// state has another one. If the instance has come to this node and that could
// not be recorded yet, it is the row that it is to have.
func (s *source) current() (*deploymentpb.Instance, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if here := s.cfg.Local.Row(s.id); s.row != nil && here.GetGeneration() > s.row.GetGeneration() {
		return here, s.moved
	}
	return s.row, s.moved
}

// run reads until the instance has ended, or without follow until all that is
// there has been read.
func (s *source) run(ctx context.Context) error {
	pause := backoff.New(retryMin, retryMax)
	for {
		row, changed := s.current()
		if row == nil {
			return s.give(ctx, s.lossIf(s.lost, true))
		}
		ended, err := s.readWhile(ctx, row)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case ended:
			return nil
		case errors.Is(err, errMoved):
			s.drain(ctx, row)
			pause.Reset()
			continue
		case !s.follow:
			return s.give(ctx, s.lossIf(err != nil && !forgotten(row, err, s.hasAfter), false))
		case row.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_EXITED:
			return s.give(ctx, s.lossIf(err != nil && !forgotten(row, err, s.hasAfter), true))
		case err != nil:
			s.cfg.Logger.Debug("logs: home node does not answer", "instance", s.id, "node", row.GetNodeId(), "error", err)
			s.lost = true
		}
		if err := waitChange(ctx, changed, pause.Next()); err != nil {
			return err
		}
	}
}

// waitChange waits for the row to change, or for the pause to be over.
func waitChange(ctx context.Context, changed <-chan struct{}, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// forgotten tells whether the lines of an instance that left are missing only
// because its home node no longer keeps them, which nobody who begins to read
// needs to hear.
func forgotten(row *deploymentpb.Instance, err error, hasAfter bool) bool {
	return errs.Is(err, errs.NotFound) && !hasAfter && row.GetState() != deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED
}

// lossIf returns a batch without lines: with a gap of unknown size if lost.
func (s *source) lossIf(lost, ended bool) *logspb.Batch {
	b := &logspb.Batch{InstanceId: s.id, Ended: ended}
	if lost {
		b.Gap = &logspb.Gap{Reason: reasonHomeLost}
	}
	return b
}

// readWhile reads at the row's home for as long as that is the instance's; after
// that it returns errMoved.
func (s *source) readWhile(ctx context.Context, row *deploymentpb.Instance) (ended bool, err error) {
	if !s.follow {
		return s.read(ctx, row, false)
	}
	reading, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			now, changed := s.current()
			if !sameHome(now, row) {
				cancel(errMoved)
				return
			}
			select {
			case <-changed:
			case <-reading.Done():
				return
			}
		}
	})
	ended, err = s.read(reading, row, true)
	cancel(nil)
	watching.Wait()
	if !ended && errors.Is(context.Cause(reading), errMoved) {
		return false, errMoved
	}
	return ended, err
}

func sameHome(a, b *deploymentpb.Instance) bool {
	return a.GetNodeId() == b.GetNodeId() && a.GetNodeBoot() == b.GetNodeBoot()
}

// drain takes from a former home what it still has: the instance's own ring may
// have dropped it before the new home came.
func (s *source) drain(ctx context.Context, row *deploymentpb.Instance) {
	bounded, cancel := context.WithTimeout(ctx, drainWait)
	defer cancel()
	if _, err := s.read(bounded, row, false); err != nil {
		s.lost = true
	}
}

// read reads at one home. It returns true when that has said that the instance
// has ended.
func (s *source) read(ctx context.Context, row *deploymentpb.Instance, follow bool) (ended bool, err error) {
	req := &nodepb.LogsRequest{InstanceId: s.id, After: s.after, HasAfter: s.hasAfter, Tail: s.tail, Follow: follow}
	take := func(r *nodepb.LogsResponse) error {
		if r.GetBatch() == nil {
			return nil
		}
		ended = ended || r.GetBatch().GetEnded()
		return s.give(ctx, r.GetBatch())
	}
	if row.GetNodeId() == s.cfg.NodeID {
		err = s.cfg.Local.Logs(ctx, req, take)
		return ended, err
	}
	conn, err := s.cfg.Peer(row.GetNodeId())
	if err != nil {
		return false, err
	}
	err = readPeer(ctx, conn, req, take)
	return ended, err
}

func readPeer(ctx context.Context, conn grpc.ClientConnInterface, req *nodepb.LogsRequest, take func(*nodepb.LogsResponse) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := nodepb.NewNodeServiceClient(conn).Logs(ctx, req)
	if err != nil {
		return errs.FromStatus(err)
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errs.FromStatus(err)
		}
		if err := take(response); err != nil {
			return err
		}
	}
}

// give hands a batch to the output and then remembers how far it has come: a
// batch that the output does not take, because the instance has moved meanwhile,
// is read again.
func (s *source) give(ctx context.Context, b *logspb.Batch) error {
	if b.GetGap() == nil && len(b.GetLines()) == 0 && !b.GetEnded() {
		return nil
	}
	if gap := b.GetGap(); gap != nil && s.lost {
		gap.Reason = reasonHomeLost
	}
	if err := emit(ctx, s.events, event{batch: b}); err != nil {
		return err
	}
	s.after += b.GetGap().GetLines()
	if n := len(b.GetLines()); n > 0 {
		s.after, s.hasAfter, s.lost = b.GetLines()[n-1].GetSeq(), true, false
	}
	return nil
}
