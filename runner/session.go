package runner

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/version"
)

var (
	errGoodbye = errors.New("the runner leaves")
	errMove    = errors.New("the runner moves to another node")
)

const (
	outputChunk  = 31 << 10 // bytes of output per message
	pingEvery    = 15 * time.Second
	idleTimeout  = 45 * time.Second // without a word from the node
	welcomeWait  = 10 * time.Second
	retryMin     = 100 * time.Millisecond
	retryMax     = 5 * time.Second
	renewDefault = 5 * time.Second
	maxRenewals  = 32 // unanswered renewals of a session that are remembered
)

// sessions keeps one session after the other until ctx ends or the cluster
// refuses the runner for good.
func (r *Runner) sessions(ctx context.Context) error {
	pause := backoff.New(retryMin, retryMax)
	var why string // of the newest end that was logged: each cause is said once
	for generation := uint64(1); ; generation++ {
		s := &session{runner: r, generation: generation, sent: map[workKey]*sent{}, renewals: map[uint64]time.Time{}}
		err := s.run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if permanent(err) {
			return errs.New(errs.KindOf(err), "runner session: %w", err)
		}
		if s.welcomed {
			pause.Reset()
		}
		if errors.Is(err, errMove) {
			continue
		}
		if s.welcomed || err.Error() != why {
			why = err.Error()
			r.config.Logger.Warn("runner session ended, trying again", "error", err)
		}
		if err := pause.Wait(ctx); err != nil {
			return nil
		}
	}
}

// session is one stream. It begins with what the runner is still doing.
type session struct {
	runner     *Runner
	generation uint64
	stream     grpc.BidiStreamingClient[runnerpb.Up, runnerpb.Down]
	addr       string // of the node, as the client knows it
	welcomed   bool
	sent       map[workKey]*sent // used by the sending loop only

	mu       sync.Mutex
	heard    time.Time
	renewals map[uint64]time.Time // when each was sent
	renewID  uint64
}

// sent is what a session has sent of an attempt.
type sent struct {
	offset uint64
	stages []int // versions
	finish bool
}

func (s *session) run(parent context.Context) error {
	// The stream outlives the parent for a moment, to say goodbye on it.
	ctx, end := context.WithCancelCause(context.WithoutCancel(parent))
	defer end(nil)
	stream, err := s.open(parent, ctx, end)
	if err != nil {
		return err
	}
	s.stream, s.welcomed, s.heard = stream, true, time.Now()
	s.addr = s.runner.config.Client.Current()
	s.runner.once.Do(func() { close(s.runner.attached) })
	s.runner.config.Logger.Info("runner attached", "runner", s.runner.id, "node", s.addr, "generation", s.generation)
	var receiving sync.WaitGroup
	receiving.Go(func() { end(s.receive(parent)) })
	err = s.send(ctx, parent)
	end(err)
	receiving.Wait()
	return err
}

// open opens the stream, says hello and takes the welcome.
func (s *session) open(parent, ctx context.Context, end context.CancelCauseFunc) (grpc.BidiStreamingClient[runnerpb.Up, runnerpb.Down], error) {
	stop := context.AfterFunc(parent, func() { end(context.Cause(parent)) })
	defer stop()
	timer := time.AfterFunc(welcomeWait, func() {
		end(errs.New(errs.Deadline, "no welcome within %s", welcomeWait))
	})
	defer timer.Stop()
	stream, err := runnerpb.NewRunnerServiceClient(s.runner.config.Client.Conn()).Session(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&runnerpb.Up{Kind: &runnerpb.Up_Hello{Hello: s.hello()}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	down, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	welcome := down.GetWelcome()
	if welcome == nil {
		return nil, errs.New(errs.Unavailable, "the node's first message is not a welcome")
	}
	s.runner.config.Client.LearnServers(welcome.GetServerAddrs())
	for _, resume := range welcome.GetResume() {
		s.sent[keyOf(resume.GetFence())] = &sent{offset: resume.GetOutputOffset()}
	}
	return stream, nil
}

func (s *session) hello() *runnerpb.Hello {
	c := s.runner.config
	hello := &runnerpb.Hello{Runner: &runnerpb.Runner{
		Id: s.runner.id, Name: c.Name, Local: c.Local, Host: c.Host, Labels: c.Labels,
		Slots: uint32(c.Slots), Generation: s.generation, Build: version.Build(),
	}}
	for _, w := range s.runner.current() {
		hello.Work = append(hello.Work, &runnerpb.Work{Fence: w.key.fence(), OutputBytes: w.buf.Total()})
	}
	return hello
}

// receive handles what the node says and returns why that ended. Work that it
// begins belongs to the runner, not to the session.
func (s *session) receive(parent context.Context) error {
	for {
		down, err := s.stream.Recv()
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.heard = time.Now()
		s.mu.Unlock()
		switch kind := down.GetKind().(type) {
		case *runnerpb.Down_Assign:
			s.runner.assign(parent, kind.Assign)
		case *runnerpb.Down_Cancel:
			if w := s.runner.work(keyOf(kind.Cancel.GetFence())); w != nil {
				w.stop(errCanceled)
			}
		case *runnerpb.Down_Renewed:
			s.renewed(kind.Renewed)
		case *runnerpb.Down_Finished:
			if kind.Finished.GetError() != "" {
				s.runner.config.Logger.Warn("the end of a job was not recorded",
					"job", kind.Finished.GetFence().GetJobId(), "error", kind.Finished.GetError())
			}
			s.runner.forget(keyOf(kind.Finished.GetFence()))
		case *runnerpb.Down_Move:
			s.runner.config.Client.LearnServers(kind.Move.GetServerAddrs())
			s.runner.config.Client.Prefer(kind.Move.GetServerAddrs())
			s.runner.config.Client.Avoid(s.addr)
			return errMove
		}
	}
}

func (s *session) renewed(answer *runnerpb.Renewed) {
	s.mu.Lock()
	at, known := s.renewals[answer.GetId()]
	delete(s.renewals, answer.GetId())
	s.mu.Unlock()
	if !known {
		return
	}
	for _, fence := range answer.GetFences() {
		if w := s.runner.work(keyOf(fence)); w != nil {
			w.renewed(at)
		}
	}
	for _, fence := range answer.GetRefused() {
		if w := s.runner.work(keyOf(fence)); w != nil {
			w.stop(errStale)
		}
	}
}

// send sends what there is to say until the session is to end.
func (s *session) send(ctx, parent context.Context) error {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	renew := time.NewTimer(0)
	defer renew.Stop()
	renewed := map[workKey]bool{} // what has been renewed on this stream at least once
	always := make(chan struct{})
	close(always)
	for {
		more, err := s.flush()
		if err != nil {
			return err
		}
		if s.unrenewed(renewed) {
			renew.Reset(0)
		}
		var again <-chan struct{} // output without end must not hold up the rest
		if more {
			again = always
		}
		select {
		case <-again:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-parent.Done():
			return s.leave(context.Cause(parent))
		case <-s.runner.wake:
		case <-s.runner.config.Client.Rebalance():
			return errMove
		case <-ping.C:
			if err := s.alive(); err != nil {
				return err
			}
		case <-renew.C:
			every, err := s.renew(renewed)
			if err != nil {
				return err
			}
			renew.Reset(every)
		}
	}
}

// leave says goodbye and waits until the node has heard it.
func (s *session) leave(cause error) error {
	if errors.Is(cause, errGoodbye) {
		if err := s.up(&runnerpb.Up{Kind: &runnerpb.Up_Goodbye{Goodbye: &runnerpb.Goodbye{}}}); err != nil {
			return err
		}
		_ = s.stream.CloseSend()
		timer := time.NewTimer(time.Second)
		defer timer.Stop()
		select {
		case <-s.stream.Context().Done():
		case <-timer.C:
		}
	}
	return cause
}

// alive sends a ping, and fails if the node has been silent for too long.
func (s *session) alive() error {
	s.mu.Lock()
	silent := time.Since(s.heard)
	s.mu.Unlock()
	if silent > idleTimeout {
		return errs.New(errs.Unavailable, "no word from the node for %s", silent.Round(time.Second))
	}
	return s.up(&runnerpb.Up{Kind: &runnerpb.Up_Ping{Ping: true}})
}

// up sends a message. What ended the stream is said by Recv.
func (s *session) up(up *runnerpb.Up) error {
	err := s.stream.Send(up)
	if errors.Is(err, io.EOF) {
		return errs.New(errs.Unavailable, "the stream has ended")
	}
	return err
}

// unrenewed tells whether there is work that this stream has not renewed.
func (s *session) unrenewed(renewed map[workKey]bool) bool {
	for _, w := range s.runner.current() {
		if !renewed[w.key] {
			return true
		}
	}
	return false
}

// renew asks for all leases to go on and returns when to ask again.
func (s *session) renew(renewed map[workKey]bool) (time.Duration, error) {
	every := renewDefault
	ask := &runnerpb.Renew{}
	clear(renewed)
	for _, w := range s.runner.current() {
		ask.Fences = append(ask.Fences, w.key.fence())
		every = min(every, w.renewEvery())
		renewed[w.key] = true
	}
	for key := range s.sent {
		if !renewed[key] {
			delete(s.sent, key)
		}
	}
	if len(ask.Fences) == 0 {
		return every, nil
	}
	s.mu.Lock()
	s.renewID++
	ask.Id = s.renewID
	s.renewals[ask.Id] = time.Now()
	delete(s.renewals, ask.Id-maxRenewals)
	s.mu.Unlock()
	return every, s.up(&runnerpb.Up{Kind: &runnerpb.Up_Renew{Renew: ask}})
}

// flush sends the stages, output and ends that this session has not sent yet,
// of each attempt at most one chunk of output; more tells that there is another.
func (s *session) flush() (more bool, err error) {
	for _, w := range s.runner.current() {
		again, err := s.flushWork(w)
		if err != nil {
			return false, err
		}
		more = more || again
	}
	return more, nil
}

func (s *session) flushWork(w *work) (more bool, err error) {
	done := s.sent[w.key]
	if done == nil {
		done = &sent{}
		s.sent[w.key] = done
	}
	stages, finish := w.said()
	for i, stage := range stages {
		if i == len(done.stages) {
			done.stages = append(done.stages, 0)
		}
		if done.stages[i] == stage.version {
			continue
		}
		if err := s.up(&runnerpb.Up{Kind: &runnerpb.Up_Stage{
			Stage: &runnerpb.Stage{Fence: w.key.fence(), Stage: stage.Stage},
		}}); err != nil {
			return false, err
		}
		done.stages[i] = stage.version
	}
	if data, at, _, _ := w.buf.ReadFrom(done.offset, outputChunk); len(data) > 0 {
		done.offset = at + uint64(len(data))
		return true, s.up(&runnerpb.Up{Kind: &runnerpb.Up_Output{
			Output: &runnerpb.Output{Fence: w.key.fence(), Offset: at, Data: data},
		}})
	}
	if finish == nil || done.finish {
		return false, nil
	}
	done.finish = true
	return false, s.up(&runnerpb.Up{Kind: &runnerpb.Up_Finish{Finish: finish}})
}
