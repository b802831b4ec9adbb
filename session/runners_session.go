package session

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"waypoint/api/jobpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/headtail"
	"waypoint/internal/ids"
	"waypoint/state"
)

// RunnerStream is the server's side of a runner's Session call.
type RunnerStream interface {
	Send(*runnerpb.Down) error
	Recv() (*runnerpb.Up, error)
}

// RunnerCaller says whose runner a stream is.
type RunnerCaller struct {
	TokenID string
	User    bool // of a user's token: the runner takes only jobs aimed at it
}

// runnerSession is one stream of a runner.
type runnerSession struct {
	in       *Runners
	stream   RunnerStream
	caller   RunnerCaller
	end      context.CancelCauseFunc
	out      runnerOutbox
	heard    lastWord
	hello    chan *runnerpb.Hello
	admitted chan struct{} // closed when messages after hello may be handled

	row *runnerpb.Runner // what the replicated row should say; set when it is admitted

	mu    sync.Mutex
	works map[workKey]*work
}

func newRunnerSession(in *Runners, stream RunnerStream, caller RunnerCaller, end context.CancelCauseFunc) *runnerSession {
	s := &runnerSession{
		in: in, stream: stream, caller: caller, end: end, heard: hearing(),
		hello:    make(chan *runnerpb.Hello, 1),
		admitted: make(chan struct{}),
		works:    map[workKey]*work{},
	}
	s.out.send, s.out.spawn, s.out.fail = stream.Send, in.life.spawn, end
	return s
}

// serve waits for hello, admits the runner and sees to its stream.
func (s *runnerSession) serve(ctx context.Context) error {
	timer := time.NewTimer(helloTimeout)
	defer timer.Stop()
	var hello *runnerpb.Hello
	select {
	case hello = <-s.hello:
	case <-timer.C:
		return errs.New(errs.Deadline, "runner session: no hello within %s", helloTimeout)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	row, err := s.in.rowOf(hello, s.caller)
	if err != nil {
		return err
	}
	s.row = row
	if err := s.in.awaitWork(ctx, hello.GetWork()); err != nil {
		return err
	}
	if err := s.in.admit(s, hello); err != nil {
		return err
	}
	defer s.in.leave(s)
	close(s.admitted)
	return s.watchIdle(ctx, timer)
}

// rowOf checks a hello and returns what the state should say of its runner.
func (r *Runners) rowOf(hello *runnerpb.Hello, caller RunnerCaller) (*runnerpb.Runner, error) {
	said := hello.GetRunner()
	if _, err := ids.Time(said.GetId()); err != nil || len(said.GetId()) != ulidLen || said.GetGeneration() == 0 {
		return nil, errs.New(errs.Invalid, "runner session: runner id %q or generation %d is malformed", said.GetId(), said.GetGeneration())
	}
	if proto.Size(said) > 16<<10 || len(hello.GetWork()) > maxSlots {
		return nil, errs.New(errs.Exhausted, "runner session: the runner's description is too large")
	}
	known := r.cfg.Store.Read().Runner(said.GetId())
	if known != nil && known.GetTokenId() != caller.TokenID {
		return nil, errs.New(errs.PermissionDenied, "runner session: runner %s belongs to another token", said.GetId())
	}
	return &runnerpb.Runner{
		Id: said.GetId(), Name: said.GetName(), Host: said.GetHost(), Labels: said.GetLabels(),
		Local:  said.GetLocal() || caller.User,
		Slots:  min(max(said.GetSlots(), 1), maxSlots),
		State:  runnerpb.State_STATE_ATTACHED,
		NodeId: r.cfg.NodeID, NodeBoot: r.cfg.BootID, Generation: said.GetGeneration(),
		Build: said.GetBuild(), TokenId: caller.TokenID,
	}, nil
}

// awaitWork waits a moment for the state to know the attempts that a runner
// works on, if this node lags.
func (r *Runners) awaitWork(ctx context.Context, works []*runnerpb.Work) error {
	bounded, cancel := context.WithTimeout(ctx, deploymentTimeout)
	defer cancel()
	for {
		ws, known := state.NewWatchSet(), true
		tx := r.cfg.Store.Read().Watch(ws)
		for _, w := range works {
			known = known && tx.Job(w.GetFence().GetJobId()).GetAttempt() >= w.GetFence().GetAttempt()
		}
		if known || ws.Wait(bounded) != nil {
			return context.Cause(ctx)
		}
	}
}

// admit makes s the runner's stream, in place of an older one, and welcomes it.
func (r *Runners) admit(s *runnerSession, hello *runnerpb.Hello) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return errs.New(errs.Unavailable, "runner session: this node is leaving: use another one")
	}
	id, generation := s.row.GetId(), s.row.GetGeneration()
	if old := r.byID[id]; old != nil {
		switch {
		case old.caller.TokenID != s.caller.TokenID:
			return errs.New(errs.PermissionDenied, "runner session: runner %s belongs to another token", id)
		case old.row.GetGeneration() >= generation:
			return errs.New(errs.StaleAttempt, "runner session: generation %d of runner %s is not above %d, which this node has seen",
				generation, id, old.row.GetGeneration())
		}
		old.end(errs.New(errs.StaleAttempt, "runner session: replaced by generation %d", generation))
	}
	r.byID[id] = s
	welcome := &runnerpb.Welcome{NodeId: r.cfg.NodeID, ServerAddrs: r.cfg.Servers()}
	tx := r.cfg.Store.Read()
	for _, said := range hello.GetWork() {
		key := keyOf(said.GetFence())
		w := newWork(key)
		if job := tx.Job(key.job); isWorkOf(job, key, id) {
			w.verify(r.outputLocked(key))
		} else {
			w.buf = headtail.New(r.cfg.OutputBytes)
		}
		s.works[key] = w
		welcome.Resume = append(welcome.Resume, &runnerpb.Resume{Fence: key.fence(), OutputOffset: w.buf.Total()})
	}
	s.out.push(&runnerpb.Down{Kind: &runnerpb.Down_Welcome{Welcome: welcome}})
	signal(r.toSync)
	signal(r.toRows)
	return nil
}

// outputLocked returns the kept output of an attempt. The caller holds mu.
func (r *Runners) outputLocked(key workKey) *headtail.Buffer {
	buf := r.outputs[key]
	if buf == nil {
		buf = headtail.New(r.cfg.OutputBytes)
		r.outputs[key] = buf
	}
	return buf
}

// leave takes s out of the registry unless a newer stream has done so.
func (r *Runners) leave(s *runnerSession) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.renewals, s)
	if r.byID[s.row.GetId()] == s {
		delete(r.byID, s.row.GetId())
	}
	if len(r.byID) == 0 && r.empty != nil {
		close(r.empty)
		r.empty = nil
	}
	signal(r.toRows)
}

// watchIdle returns why the stream is to end.
func (s *runnerSession) watchIdle(ctx context.Context, timer *time.Timer) error {
	limit := s.in.cfg.IdleTimeout
	for {
		idle := s.heard.idle()
		if idle >= limit {
			return errs.New(errs.Unavailable, "runner session: no word from the runner for %s", limit)
		}
		timer.Reset(limit - idle)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// receive handles what the runner sends, until the stream ends.
func (s *runnerSession) receive(ctx context.Context) {
	defer s.end(errDefect()) // unless it has ended for a reason
	for first := true; ; first = false {
		up, err := s.stream.Recv()
		if err != nil {
			s.end(err)
			return
		}
		s.heard.now()
		if !first {
			s.handle(ctx, up)
			continue
		}
		if up.GetHello() == nil {
			s.end(errs.New(errs.Invalid, "runner session: the first message is not hello"))
			return
		}
		s.hello <- up.GetHello()
		select {
		case <-s.admitted:
		case <-ctx.Done():
			return
		}
	}
}

func (s *runnerSession) handle(ctx context.Context, up *runnerpb.Up) {
	switch kind := up.GetKind().(type) {
	case *runnerpb.Up_Output:
		s.output(kind.Output)
	case *runnerpb.Up_Renew:
		s.in.queueRenewal(s, kind.Renew)
	case *runnerpb.Up_Stage:
		s.record(ctx, keyOf(kind.Stage.GetFence()), up)
	case *runnerpb.Up_Finish:
		s.record(ctx, keyOf(kind.Finish.GetFence()), up)
	case *runnerpb.Up_Ping:
		s.out.pong()
	case *runnerpb.Up_Goodbye:
		s.in.sayGone(s)
		s.end(errGoodbye)
	case *runnerpb.Up_Hello:
		s.end(errs.New(errs.Invalid, "runner session: a second hello"))
	}
}

func (s *runnerSession) output(out *runnerpb.Output) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.works[keyOf(out.GetFence())]; w != nil {
		w.buf.WriteAt(out.GetData(), out.GetOffset())
	}
}

// isWorkOf tells whether the state holds the attempt to be the runner's and
// under way.
func isWorkOf(job *jobpb.Job, key workKey, runnerID string) bool {
	return job.GetState() == jobpb.State_STATE_RUNNING && job.GetAttempt() == key.attempt && job.GetRunnerId() == runnerID
}
