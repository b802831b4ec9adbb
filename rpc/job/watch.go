package job

import (
	"context"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/errs"
	"waypoint/internal/headtail"
	"waypoint/internal/task"
	"waypoint/state"
)

const (
	freshWait   = 2 * time.Second // for the newest state; without it a watch shows what this node knows
	outputChunk = 31 << 10
	maxOutput   = 2 << 20 // bytes of a stored output that are unpacked
)

// Watch sends a job whenever it changes and its output as it comes, from its
// runner wherever that is attached. It ends after a job that has ended.
func (s *Service) Watch(req *jobpb.WatchRequest, stream jobpb.JobService_WatchServer) error {
	tx, err := s.view(stream.Context(), req.GetId())
	if err != nil {
		return err
	}
	if tx.Job(req.GetId()) == nil {
		return noJob(req.GetId())
	}
	w := &watcher{
		s: s, stream: stream, id: req.GetId(),
		attempt: req.GetAttempt(), offset: req.GetOutputOffset(),
		views: make(chan view), chunks: make(chan chunk),
	}
	group := task.NewGroup(stream.Context())
	group.Go("", w.follow)
	group.Go("", func(ctx context.Context) error {
		defer group.Stop()
		return w.run(ctx)
	})
	return group.Wait()
}

// view returns the newest state, or without a quorum what this node knows if it
// knows the job.
func (s *Service) view(ctx context.Context, id string) (*state.Tx, error) {
	bounded, cancel := context.WithTimeout(ctx, freshWait)
	defer cancel()
	tx, err := s.cfg.Reader.Tx(bounded)
	if err == nil || ctx.Err() != nil {
		return tx, err
	}
	if tx = s.cfg.Reader.Local(); tx.Job(id) == nil {
		return nil, err
	}
	return tx, nil
}

// watcher is one watch.
type watcher struct {
	s       *Service
	stream  jobpb.JobService_WatchServer
	id      string
	attempt uint32 // whose output is shown
	offset  uint64 // of it that has been sent
	source  source // that is being read
	stop    func() // ends the reading of source and waits; nil if nothing is read
	views   chan view
	chunks  chan chunk
}

// view is the job and where its output is to be had.
type view struct {
	job    *jobpb.Job
	stored *jobpb.Output
	node   string // home of its runner
}

// source is an attempt's output on a node. The zero source is none.
type source struct {
	node    string
	attempt uint32
}

// chunk is output of an attempt.
type chunk struct {
	attempt uint32
	offset  uint64
	data    []byte
}

// follow sends a view to run for each change of the job until it has ended.
func (w *watcher) follow(ctx context.Context) error {
	var last view
	for {
		ws := state.NewWatchSet()
		tx := w.s.cfg.Store.Read().Watch(ws)
		job := tx.Job(w.id)
		if job == nil {
			return errs.New(errs.NotFound, "job %s has been pruned", w.id)
		}
		now := view{job: w.s.explained(tx, job), stored: tx.JobOutput(w.id)}
		if job.GetState() == jobpb.State_STATE_RUNNING {
			now.node = tx.Runner(job.GetRunnerId()).GetNodeId()
		}
		if last.job == nil || last.node != now.node || !proto.Equal(last.job, now.job) {
			select {
			case w.views <- now:
			case <-ctx.Done():
				return ctx.Err()
			}
			last = now
		}
		if state.JobEnded(job) {
			return nil
		}
		if err := ws.Wait(ctx); err != nil {
			return err
		}
	}
}

// run sends what the others find out.
func (w *watcher) run(ctx context.Context) error {
	defer func() { w.read(ctx, source{}) }()
	beat := time.NewTicker(w.s.cfg.Heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case v := <-w.views:
			var ended bool
			if ended, err = w.show(ctx, v); ended {
				return err
			}
		case c := <-w.chunks:
			err = w.output(c)
		case <-beat.C:
			err = w.stream.Send(&jobpb.WatchResponse{Heartbeat: true})
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// show sends a job. Before one that has ended it sends the rest of its output.
func (w *watcher) show(ctx context.Context, v view) (ended bool, err error) {
	if at := v.job.GetAttempt(); at != w.attempt {
		w.attempt, w.offset = at, 0
	}
	if state.JobEnded(v.job) {
		w.read(ctx, source{})
		if err := w.outputStored(v); err != nil {
			return true, err
		}
		return true, w.stream.Send(&jobpb.WatchResponse{Job: v.job, Attempt: w.attempt})
	}
	want := source{}
	if v.node != "" {
		want = source{node: v.node, attempt: w.attempt}
	}
	w.read(ctx, want)
	return false, w.stream.Send(&jobpb.WatchResponse{Job: v.job, Attempt: w.attempt})
}

// output sends the new part of a chunk.
func (w *watcher) output(c chunk) error {
	end := c.offset + uint64(len(c.data))
	if c.attempt != w.attempt || end <= w.offset {
		return nil
	}
	if c.offset < w.offset {
		c.data, c.offset = c.data[w.offset-c.offset:], w.offset
	}
	w.offset = end
	return w.stream.Send(&jobpb.WatchResponse{Output: c.data, OutputOffset: c.offset, Attempt: c.attempt})
}

// outputStored sends what has not been sent of a stored output.
func (w *watcher) outputStored(v view) error {
	if v.stored == nil {
		return nil
	}
	unpack, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxOutput))
	if err != nil {
		return errs.New(errs.Internal, "unpack the output of job %s: %w", w.id, err)
	}
	defer unpack.Close()
	text, err := unpack.DecodeAll(v.stored.GetZstd(), nil)
	if err != nil {
		return errs.New(errs.Internal, "unpack the output of job %s: %w", w.id, err)
	}
	for _, part := range headtail.Split(text, v.job.GetOutputBytes(), v.job.GetOutputTruncated()) {
		for len(part.Data) > 0 {
			n := min(len(part.Data), outputChunk)
			if err := w.output(chunk{w.attempt, part.Offset, part.Data[:n]}); err != nil {
				return err
			}
			part.Data, part.Offset = part.Data[n:], part.Offset+uint64(n)
		}
	}
	return nil
}

// read makes want what is read, in place of another source.
func (w *watcher) read(ctx context.Context, want source) {
	if want == w.source {
		return
	}
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
	w.source = want
	if want == (source{}) {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	r := reader{
		s: w.s, node: want.node, offset: w.offset, chunks: w.chunks,
		fence: &deploymentpb.Fence{JobId: w.id, Attempt: want.attempt},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-done
	}
}
