package job

import (
	"context"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/internal/backoff"
)

const (
	readRetryMin = 50 * time.Millisecond
	readRetryMax = 2 * time.Second
)

// reader reads the output of one attempt on one node, again and again if it
// fails: the node may not know the attempt yet, or be away for a moment.
type reader struct {
	s      *Service
	node   string
	fence  *deploymentpb.Fence
	offset uint64
	chunks chan<- chunk
}

// run reads until the attempt is over or ctx ends.
func (r *reader) run(ctx context.Context) {
	pause := backoff.New(readRetryMin, readRetryMax)
	for ctx.Err() == nil {
		before := r.offset
		err := r.once(ctx)
		if err == nil {
			return
		}
		if !errs.Is(err, errs.NotFound) && ctx.Err() == nil {
			r.s.cfg.Logger.Debug("cannot read a job's output", "job", r.fence.GetJobId(), "node", r.node, "error", err)
		}
		if r.offset > before {
			pause.Reset()
		}
		_ = pause.Wait(ctx)
	}
}

// once reads until the attempt is over (nil) or reading fails.
func (r *reader) once(ctx context.Context) error {
	if r.node == r.s.cfg.NodeID {
		return r.s.cfg.Outputs.JobOutput(ctx, r.fence, r.offset, func(out *nodepb.JobOutputResponse) error {
			return r.take(ctx, out)
		})
	}
	conn, err := r.s.cfg.Peer(r.node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := nodepb.NewNodeServiceClient(conn).JobOutput(ctx, &nodepb.JobOutputRequest{Fence: r.fence, Offset: r.offset})
	if err != nil {
		return errs.FromStatus(err)
	}
	for {
		out, err := stream.Recv()
		if err != nil {
			return errs.FromStatus(err)
		}
		if err := r.take(ctx, out); err != nil || out.GetEnded() {
			return err
		}
	}
}

func (r *reader) take(ctx context.Context, out *nodepb.JobOutputResponse) error {
	if len(out.GetData()) == 0 {
		return nil
	}
	select {
	case r.chunks <- chunk{r.fence.GetAttempt(), out.GetOffset(), out.GetData()}:
		r.offset = out.GetOffset() + uint64(len(out.GetData()))
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
