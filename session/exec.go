package session

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

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
	taken      bool            // guarded by Instances.mu
	arrived    chan execCaller // of capacity 1
	done       chan struct{}   // closed at the end
}

// execCaller is an entrypoint's call that takes up a session.
type execCaller struct {
	stream ExecStream
	first  *execpb.Output // what came with its first message, if anything
}

// Exec runs one session in an instance that is attached here. It returns nil
// when the command's end, or the refusal to start it, has been sent to side; no
// other end is reported twice. It fails with KIND_UNAVAILABLE if the instance is
// not attached here, does not answer, or goes away. It may return while side is
// still in Recv or Send: side's stream must end then.
func (in *Instances) Exec(ctx context.Context, open *execpb.Open, side ExecSide) error {
	ctx, end, err := in.enter(ctx)
	if err != nil {
		return err
	}
	defer end(nil)
	s, err := in.order(open)
	if err != nil {
		return err
	}
	defer in.closeExec(s)
	timer := time.NewTimer(in.cfg.ExecTimeout)
	defer timer.Stop()
	select {
	case caller := <-s.arrived:
		return in.pump(ctx, open, side, caller, s.done)
	case <-timer.C:
		return errs.New(errs.Unavailable, "exec: instance %s did not answer within %s: its entrypoint may be busy or gone", s.instance, in.cfg.ExecTimeout)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// order registers a session and asks the instance to take it up.
func (in *Instances) order(open *execpb.Open) (*execSession, error) {
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
	if in.execs[open.GetSessionId()] != nil {
		return nil, errs.New(errs.AlreadyExists, "exec: session %s is open already", open.GetSessionId())
	}
	s := &execSession{
		id: open.GetSessionId(), instance: inst.id, deployment: inst.deployment,
		arrived: make(chan execCaller, 1), done: make(chan struct{}),
	}
	if !inst.live.out.order(&entrypointpb.Down{Kind: &entrypointpb.Down_Exec{Exec: &entrypointpb.ExecOpen{SessionId: s.id}}}) {
		return nil, errs.New(errs.Exhausted, "exec: too many messages wait for instance %s", inst.id)
	}
	in.execs[s.id] = s
	return s, nil
}

func (in *Instances) closeExec(s *execSession) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.execs, s.id)
	close(s.done)
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
func (in *Instances) pump(ctx context.Context, open *execpb.Open, side ExecSide, caller execCaller, done <-chan struct{}) error {
	if err := caller.stream.Send(&execpb.Input{Kind: &execpb.Input_Open{Open: open}}); err != nil {
		return errLost(err)
	}
	outputs, inputs := make(chan error, 1), make(chan error, 1)
	if !in.spawn(func() { outputs <- task.Protect(func() error { return pumpOutput(side, caller) }) }) ||
		!in.spawn(func() { inputs <- task.Protect(func() error { return pumpInput(ctx, side, caller.stream, done) }) }) {
		return errShutdown()
	}
	select {
	case err := <-outputs:
		return err
	case err := <-inputs:
		if err != nil {
			return err
		}
		return awaitExit(ctx, outputs)
	case <-ctx.Done():
		return leaveBehind(ctx, inputs)
	}
}

// awaitExit waits for the command's end after an explicit close.
func awaitExit(ctx context.Context, outputs <-chan error) error {
	timer := time.NewTimer(execCloseWait)
	defer timer.Stop()
	select {
	case err := <-outputs:
		return err
	case <-timer.C:
		return errs.New(errs.Unavailable, "exec: session closed; the instance has not said how the command ended within %s", execCloseWait)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leaveBehind gives the input direction a moment to tell the instance that the
// asking side has gone.
func leaveBehind(ctx context.Context, inputs <-chan error) error {
	timer := time.NewTimer(execGoodbye)
	defer timer.Stop()
	select {
	case <-inputs:
	case <-timer.C:
	}
	return context.Cause(ctx)
}

// pumpOutput returns nil after the last message of the session.
func pumpOutput(side ExecSide, caller execCaller) error {
	out := caller.first
	for {
		if out != nil {
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

// pumpInput returns nil after an explicit close, which the command may still
// answer. When the asking side leaves without one, it closes the session for it.
// Once done is closed it sends nothing any more.
func pumpInput(ctx context.Context, side ExecSide, stream ExecStream, done <-chan struct{}) error {
	for {
		message, err := side.Recv()
		if errors.Is(err, io.EOF) { // it sends no more, but still listens
			if err := stream.Send(&execpb.Input{Kind: &execpb.Input_StdinEof{StdinEof: true}}); err != nil {
				return errLost(err)
			}
			<-ctx.Done()
			err = context.Cause(ctx)
		}
		if err != nil {
			select {
			case <-done:
			default:
				_ = stream.Send(&execpb.Input{Kind: &execpb.Input_Close{Close: true}})
			}
			return errs.New(errs.Canceled, "exec: the side that asked for the session has gone: %w", err)
		}
		for _, part := range chunks(message) {
			if err := stream.Send(part); err != nil {
				return errLost(err)
			}
		}
		if message.GetClose() {
			return nil
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
	return errs.New(errs.Unavailable, "exec: the connection to the instance was lost, and the session with it: %w", err)
}
