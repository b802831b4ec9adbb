package session

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/api/entrypointpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/task"
)

const (
	execChunk     = 31 << 10        // stdin bytes per message
	execGoodbye   = 2 * time.Second // for the close of a client that left to go out
	execCloseWait = 5 * time.Second // for the exit code after an explicit close
	resumeTimeout = 3 * time.Second // for an entrypoint to go on with a session
	execAckWait   = 2 * time.Second // for the exit's acknowledgement
)

// ExecSide is the side of an exec session that asked for it.
type ExecSide interface {
	Send(*execpb.Output) error
	Recv() (*execpb.Input, error)
}

// ExecStream is the server's side of an entrypoint's Exec call.
type ExecStream interface {
	Send(*execpb.Input) error
	Recv() (*entrypointpb.ExecUp, error)
}

// execSession is one session from the order to its end.
type execSession struct {
	id         string
	instance   string
	deployment string
	token      string // id of the token that opened it
	resumable  bool
	row        *deploymentpb.Instance
	end        context.CancelCauseFunc
	doubtful   atomic.Bool     // the command has been ordered and there is no answer
	taken      bool            // guarded by Instances.mu
	arrived    chan execCaller // of capacity 1
	done       chan struct{}   // closed at the end
}

// execCaller is an entrypoint's call that takes up a session.
type execCaller struct {
	stream ExecStream
	first  *execpb.Output // what came with its first message, if anything
}

// Exec runs one session in an instance that is attached here, or goes on with
// one. It returns nil when the command's end, or the refusal to start it, has
// been sent to side; no other end is reported twice. It fails with
// KIND_UNAVAILABLE if the instance is not attached here, does not answer, or goes
// away; a resumable session then waits in the instance. What ends a session
// before the instance has said that it was opened is KIND_OUTCOME_UNKNOWN. It may
// return while side is still in Recv or Send: side's stream must end then.
func (in *Instances) Exec(ctx context.Context, open *execpb.Open, side ExecSide) error {
	asking := ctx
	ctx, end, err := in.enter(ctx)
	if err != nil {
		return err
	}
	defer end(nil)
	s, err := in.order(open, end)
	if err != nil {
		return err
	}
	defer in.closeExec(s)
	record := newRecorded(side, in.records, open, s.row)
	err = s.carry(ctx, in, open, record)
	record.leave(err)
	callerLeft := errors.Is(context.Cause(asking), context.Canceled) // nobody hears us
	if err != nil && s.doubtful.Load() && !callerLeft {
		return errs.New(errs.OutcomeUnknown, "exec: the command may or may not have been started, look before you run it again: %w", err)
	}
	return err
}

// carry waits for the instance to take the session up and carries it.
func (s *execSession) carry(ctx context.Context, in *Instances, open *execpb.Open, side ExecSide) error {
	limit := in.cfg.ExecTimeout
	if open.GetResume() != nil {
		limit = min(limit, resumeTimeout) // the asking side has other nodes to try
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case caller := <-s.arrived:
		return s.pump(ctx, in.spawn, open, side, caller)
	case <-timer.C:
		return errs.New(errs.Unavailable, "exec: instance %s did not answer within %s: its entrypoint may be busy or gone", s.instance, limit)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// order registers a session and asks the instance to take it up. Who resumes a
// session that is still carried here takes it over.
func (in *Instances) order(open *execpb.Open, end context.CancelCauseFunc) (*execSession, error) {
	if len(open.GetArgv()) == 0 {
		return nil, errs.New(errs.Invalid, "exec: no command given")
	}
	if _, err := ids.Time(open.GetSessionId()); err != nil {
		return nil, errs.New(errs.Invalid, "exec: session id %q is not a ULID", open.GetSessionId())
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	inst := in.byID[open.GetInstanceId()]
	if inst == nil || inst.live == nil {
		return nil, errs.New(errs.Unavailable, "exec: instance %s is not attached to this node", open.GetInstanceId())
	}
	older := in.execs[open.GetSessionId()]
	switch {
	case older != nil && open.GetResume() == nil:
		return nil, errs.New(errs.AlreadyExists, "exec: session %s is open already", open.GetSessionId())
	case older != nil && (older.token != open.GetTokenId() || older.instance != inst.id):
		return nil, errs.New(errs.PermissionDenied, "exec: session %s cannot be resumed: it belongs to another token or instance", open.GetSessionId())
	}
	s := &execSession{
		token: open.GetTokenId(), resumable: open.GetResumable() || open.GetResume() != nil, row: inst.live.row, end: end,
		id: open.GetSessionId(), instance: inst.id, deployment: inst.deployment,
		arrived: make(chan execCaller, 1), done: make(chan struct{}),
	}
	if !inst.live.out.order(&entrypointpb.Down{Kind: &entrypointpb.Down_Exec{Exec: &entrypointpb.ExecOpen{SessionId: s.id}}}) {
		return nil, errs.New(errs.Exhausted, "exec: too many messages wait for instance %s", inst.id)
	}
	if older != nil {
		older.end(errs.New(errs.Canceled, "exec: session %s goes on over another connection", s.id))
	}
	in.execs[s.id] = s
	return s, nil
}

func (in *Instances) closeExec(s *execSession) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.execs[s.id] == s {
		delete(in.execs, s.id)
	}
	close(s.done)
}

// moveExecs ends what is carried here of an instance that has attached anew,
// here or elsewhere, so that both sides go on there at once: the connection
// that carries it may be dead without a sign. What is not resumable stays as
// long as it can.
func moveExecs(execs map[string]*execSession, instance string) {
	for _, s := range execs {
		if s.instance == instance && s.resumable {
			s.end(errs.New(errs.Unavailable, "exec: instance %s has moved to another connection", instance))
		}
	}
}

// ServeExec serves an entrypoint's Exec call: it hands the stream to the session
// that its first message names, and returns when that has ended. A session is
// taken up once, and only by the instance that was asked to.
func (in *Instances) ServeExec(ctx context.Context, stream ExecStream, deploymentID string) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	in.mu.Lock()
	s := in.execs[first.GetSessionId()]
	known := s != nil && s.deployment == deploymentID && s.instance == first.GetInstanceId()
	if known && !s.taken {
		s.taken = true
		s.arrived <- execCaller{stream: stream, first: first.GetOutput()}
	} else {
		s = nil
	}
	in.mu.Unlock()
	switch {
	case !known:
		return errs.New(errs.NotFound, "exec: no session %s waits for this instance here", first.GetSessionId())
	case s == nil:
		return errs.New(errs.Conflict, "exec: session %s has been taken up already", first.GetSessionId())
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		<-s.done // the pump sees its stream fail
		return context.Cause(ctx)
	}
}

// pump carries both directions until one of them ends the session. Each holds
// one message at a time; the streams' flow control does the rest.
func (s *execSession) pump(ctx context.Context, spawn func(func()) bool, open *execpb.Open, side ExecSide, caller execCaller) error {
	if err := caller.stream.Send(&execpb.Input{Kind: &execpb.Input_Open{Open: open}}); err != nil {
		return errLost(err)
	}
	s.doubtful.Store(open.GetResume() == nil)
	outputs, inputs, closed := make(chan error, 1), make(chan error, 1), make(chan struct{}, 1)
	input := inputPump{side: side, stream: caller.stream, resumable: s.resumable, done: s.done, closed: closed}
	if !spawn(func() { outputs <- task.Protect(func() error { return s.pumpOutput(side, caller) }) }) ||
		!spawn(func() { inputs <- task.Protect(func() error { return input.run(ctx) }) }) {
		return errShutdown()
	}
	var late <-chan time.Time
	for {
		select {
		case err := <-outputs:
			if err == nil && s.resumable && inputs != nil {
				await(ctx, inputs, execAckWait)
			}
			return err
		case err := <-inputs:
			if err != nil {
				return err
			}
			inputs = nil
		case <-closed:
			timer := time.NewTimer(execCloseWait)
			defer timer.Stop()
			late = timer.C
		case <-late:
			return errs.New(errs.Unavailable, "exec: session closed; the instance has not said how the command ended within %s", execCloseWait)
		case <-ctx.Done():
			if !s.resumable && inputs != nil {
				// The input direction tells the instance that the asking side has gone.
				await(context.WithoutCancel(ctx), inputs, execGoodbye)
			}
			return context.Cause(ctx)
		}
	}
}

// await waits for a direction to end, but not for long.
func await(ctx context.Context, direction <-chan error, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-direction:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// pumpOutput returns nil after the last message of the session.
func (s *execSession) pumpOutput(side ExecSide, caller execCaller) error {
	out := caller.first
	for {
		if out != nil {
			s.doubtful.Store(false)
			if err := side.Send(out); err != nil {
				return err
			}
			if out.GetExit() != nil || out.GetRefused() != nil {
				return nil
			}
		}
		up, err := caller.stream.Recv()
		if err != nil {
			return errLost(err)
		}
		out = up.GetOutput()
	}
}

// inputPump carries what goes towards the command.
type inputPump struct {
	side      ExecSide
	stream    ExecStream
	resumable bool
	done      <-chan struct{} // closed at the session's end: nothing is sent any more
	closed    chan<- struct{} // gets a token after an explicit close
}

// run returns nil when nothing more can follow: after an explicit close, which
// the command may still answer, or after the exit of a resumable session was
// acknowledged. When the asking side of a session that is not resumable leaves
// without a close, it closes the session for it.
func (p inputPump) run(ctx context.Context) error {
	for {
		message, err := p.side.Recv()
		if errors.Is(err, io.EOF) { // it sends no more, but still listens
			if err := p.endInput(); err != nil {
				return errLost(err)
			}
			<-ctx.Done()
			err = context.Cause(ctx)
		}
		if err != nil {
			p.abandon()
			return errs.New(errs.Canceled, "exec: the side that asked for the session has gone: %w", err)
		}
		for _, part := range chunks(message) {
			if err := p.stream.Send(part); err != nil {
				return errLost(err)
			}
		}
		if message.GetClose() {
			select {
			case p.closed <- struct{}{}:
			default:
			}
		}
		if message.GetAck().GetExit() || message.GetClose() && !p.resumable {
			return nil
		}
	}
}

// endInput tells the command that there is no more input. In a resumable
// session that is said in so many words, or not at all.
func (p inputPump) endInput() error {
	if p.resumable {
		return nil
	}
	return p.stream.Send(&execpb.Input{Kind: &execpb.Input_StdinEof{StdinEof: true}})
}

// abandon closes a session whose asking side has left and cannot come back.
func (p inputPump) abandon() {
	select {
	case <-p.done:
	default:
		if !p.resumable {
			_ = p.stream.Send(&execpb.Input{Kind: &execpb.Input_Close{Close: true}})
		}
	}
}

// chunks splits input that is longer than an entrypoint takes at a time.
func chunks(message *execpb.Input) []*execpb.Input {
	data := message.GetStdin()
	if len(data) <= execChunk {
		return []*execpb.Input{message}
	}
	var parts []*execpb.Input
	offset := message.GetOffset()
	for part := range slices.Chunk(data, execChunk) {
		parts = append(parts, &execpb.Input{Kind: &execpb.Input_Stdin{Stdin: part}, Offset: offset})
		offset += uint64(len(part))
	}
	return parts
}

func errLost(err error) error {
	return errs.New(errs.Unavailable, "exec: the connection to the instance was lost: %w", err)
}
