package entrypoint

import (
	"context"
	"sync"
	"time"

	"waypoint/api/entrypointpb"
	"waypoint/api/execpb"
	"waypoint/errs"
)

const (
	probeEvery = 2 * time.Second // while input that is not read keeps us from receiving
	ackBytes   = 64 << 10        // of input that are acknowledged at once
	ackAfter   = time.Second     // for less than that
)

var (
	errStreamEnded = errs.New(errs.Canceled, "the session's stream has ended")
	errReplaced    = errs.New(errs.Canceled, "the session goes on over another stream")
)

// execLink is one stream of a session.
type execLink struct {
	raw    entrypointpb.Entrypoint_ExecClient
	ctx    context.Context
	cancel context.CancelCauseFunc

	sending sync.Mutex

	// Guarded by the session's lock:
	opened   *execpb.Output // the first message; nil once it is sent
	sent     [2]uint64      // offset of what is to be sent next of each output
	turn     int            // the output that is looked at first
	acked    uint64         // input that has been acknowledged
	ackDue   bool
	pong     bool
	exitSent bool
}

// send sends one output; nil is a message without meaning. It fails when the
// stream has ended.
func (l *execLink) send(out *execpb.Output) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	return l.raw.Send(&entrypointpb.ExecUp{Output: out})
}

// close says that nothing more will be sent. The home node then ends the
// stream, or we do if it takes its time.
func (l *execLink) close() {
	l.sending.Lock()
	defer l.sending.Unlock()
	_ = l.raw.CloseSend()
	time.AfterFunc(openWithin, func() { l.cancel(errStreamEnded) })
}

// refuse says that there is no session, and waits until the home node has
// taken it.
func (l *execLink) refuse(err error) error {
	if err := l.send(&execpb.Output{Kind: &execpb.Output_Refused{Refused: errs.ToProto(err)}}); err != nil {
		return err
	}
	l.close()
	for {
		if _, err := l.raw.Recv(); err != nil {
			return nil
		}
	}
}

// probe finds out by sending that the stream has ended, while nobody receives,
// until stop is called.
func (l *execLink) probe() (stop func()) {
	stopped, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(probeEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if l.send(nil) != nil {
					l.cancel(errStreamEnded)
				}
			case <-l.ctx.Done():
				return
			case <-stopped:
				return
			}
		}
	}()
	return func() { close(stopped); <-done }
}

// carry carries the session over a stream that it has been given, until the
// stream ends.
func (s *execSession) carry(l *execLink) {
	defer context.AfterFunc(l.ctx, s.wake)()
	var sending sync.WaitGroup
	sending.Go(guarded(l.cancel, func() { s.sendAll(l) }))
	guarded(l.cancel, func() { s.receive(l) })()
	l.cancel(errStreamEnded)
	s.unbind(l)
	sending.Wait()
}

// sendAll sends what there is to send until the session has ended or goes on
// elsewhere.
func (s *execSession) sendAll(l *execLink) {
	for {
		out := s.next(l)
		if out == nil {
			return
		}
		if l.send(out) != nil {
			l.cancel(errStreamEnded)
			return
		}
		if out.GetRefused() != nil || out.GetExit() != nil && !s.resumable {
			l.close()
			s.forget()
			return
		}
	}
}

// receive takes what comes towards the command until the stream ends.
func (s *execSession) receive(l *execLink) {
	for {
		in, err := l.raw.Recv()
		if err != nil {
			return
		}
		if err := s.take(l, in); err != nil {
			s.fail(err)
		}
	}
}

// take handles one message. Its error ends the session.
func (s *execSession) take(l *execLink, in *execpb.Input) error {
	switch kind := in.GetKind().(type) {
	case *execpb.Input_Stdin:
		return s.takeInput(l, in.GetOffset(), kind.Stdin)
	case *execpb.Input_StdinEof:
		s.takeEOF()
	case *execpb.Input_Ack:
		return s.takeAck(l, kind.Ack)
	case *execpb.Input_Size:
		s.command.resize(kind.Size)
	case *execpb.Input_Signal:
		s.command.signal(kind.Signal)
	case *execpb.Input_Close:
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.command.ask()
	case *execpb.Input_Ping:
		s.mu.Lock()
		l.pong = true
		s.mu.Unlock()
		s.wake()
	}
	return nil
}
