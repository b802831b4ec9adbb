package session

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"waypoint/api/commandpb"
	"waypoint/api/jobpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/internal/headtail"
	"waypoint/internal/ids"
	"waypoint/state"
)

const (
	maxPending    = 256       // stages of one attempt that wait to be recorded
	maxStoredZstd = 448 << 10 // stored output after compression: a log entry must stay small
	maxFailure    = 4 << 10   // bytes of the error of an attempt
	maxStage      = 16 << 10  // bytes of a stage
	requestAge    = 4 * time.Minute
)

// work is an attempt that a runner works on, as its stream sees it. Fields are
// guarded by the session's mu.
type work struct {
	key       workKey
	buf       *headtail.Buffer
	decided   chan struct{} // closed when verified or over is set
	verified  bool          // the state says that it is this runner's
	over      bool          // the state says that it is not, or not any more
	canceled  bool          // the runner has been told
	pending   []*runnerpb.Up
	recording bool
}

func newWork(key workKey) *work { return &work{key: key, decided: make(chan struct{})} }

// verify notes that the attempt is the runner's, with its output in buf.
func (w *work) verify(buf *headtail.Buffer) {
	for old, next := w.buf, uint64(0); old != nil; {
		data, at, _, _ := old.ReadFrom(next, outputChunk)
		if len(data) == 0 {
			break
		}
		buf.WriteAt(data, at)
		next = at + uint64(len(data))
	}
	w.buf, w.verified = buf, true
	close(w.decided)
}

// handOut tells every runner about its work whenever jobs change.
func (r *Runners) handOut(ctx context.Context) error {
	for {
		ws := state.NewWatchSet()
		tx := r.cfg.Store.Read().Watch(ws)
		mine := map[string][]*jobpb.Job{}
		for _, job := range tx.Jobs(state.JobFilter{States: []jobpb.State{jobpb.State_STATE_RUNNING}}) {
			mine[job.GetRunnerId()] = append(mine[job.GetRunnerId()], job)
		}
		now := r.cfg.Store.Read() // not watched: single jobs are looked at besides
		for _, s := range r.attached() {
			s.sync(now, mine[s.row.GetId()])
		}
		r.dropOutputs(now)
		if err := waitChange(ctx, ws, r.toSync); err != nil {
			return err
		}
	}
}

func (r *Runners) attached() []*runnerSession {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*runnerSession, 0, len(r.byID))
	for _, s := range r.byID {
		list = append(list, s)
	}
	return list
}

// dropOutputs closes and forgets the output of attempts that are over. Who is
// reading it reads on to its end.
func (r *Runners) dropOutputs(tx *state.Tx) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, buf := range r.outputs {
		if job := tx.Job(key.job); job == nil || isOver(job, key) {
			buf.Close()
			delete(r.outputs, key)
		}
	}
}

// isOver tells whether the attempt is not or not any more the job's current
// one. Of an attempt that the state does not know yet it is not true: this node
// may lag behind the one that handed it out.
func isOver(job *jobpb.Job, key workKey) bool {
	return job.GetAttempt() > key.attempt ||
		job.GetAttempt() == key.attempt && job.GetState() != jobpb.State_STATE_RUNNING
}

// sync compares what the runner is known to work on with the running jobs that
// the state holds to be its own.
func (s *runnerSession) sync(tx *state.Tx, mine []*jobpb.Job) {
	for _, job := range mine {
		key := workKey{job.GetId(), job.GetAttempt()}
		s.in.mu.Lock()
		buf := s.in.outputLocked(key)
		s.in.mu.Unlock()
		s.hold(key, job, buf)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, w := range s.works {
		job := tx.Job(key.job)
		stolen := job.GetState() == jobpb.State_STATE_RUNNING && job.GetAttempt() == key.attempt &&
			job.GetRunnerId() != s.row.GetId()
		if isOver(job, key) || stolen || w.verified && job == nil {
			s.giveUp(w)
		}
	}
}

// giveUp ends work that is not the runner's any more. If its end is being
// recorded the runner will hear of that instead. The caller holds mu.
func (s *runnerSession) giveUp(w *work) {
	if !w.verified {
		close(w.decided)
	}
	w.over = true
	delete(s.works, w.key)
	if !w.recording {
		s.cancel(w.key, "stale attempt")
	}
}

// hold hands a running job to the runner if that does not work on it yet.
func (s *runnerSession) hold(key workKey, job *jobpb.Job, buf *headtail.Buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.works[key]
	if w == nil {
		w = newWork(key)
		s.works[key] = w
		s.out.push(&runnerpb.Down{Kind: &runnerpb.Down_Assign{Assign: &runnerpb.Assign{
			Job: job, Lease: durationpb.New(s.in.cfg.Lease),
		}}})
	}
	if !w.verified {
		w.verify(buf)
	}
	if job.GetCancelRequested() && !w.canceled {
		w.canceled = true
		s.cancel(key, "cancelled by user")
	}
}

func (s *runnerSession) cancel(key workKey, reason string) {
	s.out.push(&runnerpb.Down{Kind: &runnerpb.Down_Cancel{Cancel: &runnerpb.Cancel{Fence: key.fence(), Reason: reason}}})
}

// record queues a stage or the end of an attempt. They are recorded in order,
// behind the stream's back.
func (s *runnerSession) record(ctx context.Context, key workKey, up *runnerpb.Up) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.works[key]
	switch {
	case w == nil:
		if up.GetFinish() != nil {
			s.finished(key, "the attempt is over")
		}
		return
	case len(w.pending) >= maxPending:
		s.end(errs.New(errs.Exhausted, "runner session: %d stages of job %s wait to be recorded", len(w.pending), key.job))
		return
	}
	w.pending = append(w.pending, up)
	if !w.recording {
		w.recording = s.in.life.spawn(func() { s.drain(ctx, w) })
	}
}

func (s *runnerSession) finished(key workKey, failure string) {
	s.out.push(&runnerpb.Down{Kind: &runnerpb.Down_Finished{Finished: &runnerpb.Finished{Fence: key.fence(), Error: failure}}})
}

// drain records what waits for one attempt.
func (s *runnerSession) drain(ctx context.Context, w *work) {
	select {
	case <-w.decided:
	case <-ctx.Done():
		return
	}
	for {
		s.mu.Lock()
		if len(w.pending) == 0 {
			w.recording = false
			s.mu.Unlock()
			return
		}
		up, over := w.pending[0], w.over && !w.verified
		s.mu.Unlock()
		if !s.say(ctx, w.key, up, over) {
			return
		}
		s.mu.Lock()
		w.pending = w.pending[1:]
		if up.GetFinish() != nil {
			delete(s.works, w.key)
		}
		s.mu.Unlock()
	}
}

// say records one stage or end, and answers an end. It returns false when the
// stream has ended first: the runner will repeat it on another one.
func (s *runnerSession) say(ctx context.Context, key workKey, up *runnerpb.Up, over bool) bool {
	if stage := up.GetStage(); stage != nil {
		if over || proto.Size(stage) > maxStage {
			return true
		}
		err := s.in.applySurely(ctx, &commandpb.Command{Kind: &commandpb.Command_JobStage{
			JobStage: &commandpb.JobStage{Fence: key.fence(), Stage: stage.GetStage()},
		}})
		if err != nil && ctx.Err() == nil {
			s.in.cfg.Logger.Debug("stage refused", "job", key.job, "error", err)
		}
		return ctx.Err() == nil
	}
	if over {
		s.finished(key, "the attempt is over")
		return true
	}
	finish := up.GetFinish()
	cmd := &commandpb.JobFinish{
		Fence: key.fence(), State: finish.GetState(), Error: strings.ToValidUTF8(finish.GetError()[:min(len(finish.GetError()), maxFailure)], ""),
		OutputZstd: finish.GetOutputZstd(), OutputBytes: finish.GetOutputBytes(), OutputTruncated: finish.GetOutputTruncated(),
	}
	if len(cmd.OutputZstd) > maxStoredZstd {
		cmd.OutputZstd, cmd.OutputTruncated = nil, true
	}
	err := s.in.applySurely(ctx, &commandpb.Command{Kind: &commandpb.Command_JobFinish{JobFinish: cmd}})
	if ctx.Err() != nil {
		return false
	}
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	s.finished(key, failure)
	return true
}

// applySurely applies a command as this node until it is done, refused, or ctx
// ends. It is for commands that change nothing when they come a second time.
func (r *Runners) applySurely(ctx context.Context, cmd *commandpb.Command) error {
	pause := backoff.New(rowRetryMin, rowRetryMax)
	var born time.Time
	for {
		if time.Since(born) > requestAge {
			// Anew, for a try that was given up may still be on its way.
			cmd = &commandpb.Command{RequestId: ids.At(r.cfg.Now()), TokenId: nodePrefix + r.cfg.NodeID, Kind: cmd.GetKind()}
			born = time.Now()
		}
		try, cancel := context.WithTimeout(ctx, rowTimeout)
		_, err := r.cfg.Applier.Apply(try, cmd)
		cancel()
		if err == nil || !retryable(err) {
			return err
		}
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
}
