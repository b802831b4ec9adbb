package exec

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"waypoint/api/execpb"
	"waypoint/errs"
)

// link is one stream of a session. Fields are guarded by the session's lock.
type link struct {
	raw    execpb.Exec_StartClient
	cancel context.CancelFunc

	opened  bool   // the other side has answered
	sent    uint64 // offset of the input that is to be sent next
	eofSent bool
	closed  bool // nothing more is to be sent
	ping    bool
	ackDue  bool
}

// stream carries the session over one stream, in place of one that was lost at
// a time. It tells whether the other side has taken it up, and why it ended.
func (s *session) stream(ctx context.Context, lost time.Time) (opened bool, err error) {
	// A context that ends is told to the other side before the stream ends.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	l := &link{cancel: cancel}
	if !s.begin(l) {
		return false, nil
	}
	defer s.end(l)
	if !lost.IsZero() {
		late := time.AfterFunc(time.Until(lost.Add(ResumeWithin+inFlight)), func() {
			if !s.isOpen(l) {
				cancel()
			}
		})
		defer late.Stop()
	}
	if l.raw, err = s.api.Start(ctx); err != nil {
		return false, err
	}
	if err := l.raw.Send(&execpb.Input{Kind: &execpb.Input_Open{Open: s.opening()}}); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() { s.sendAll(l) })
	err = s.receive(l)
	cancel()
	opened = s.isOpen(l)
	s.end(l)
	return opened, err
}

// begin makes l the session's stream, unless that has ended.
func (s *session) begin(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return false
	}
	s.link = l
	return true
}

func (s *session) end(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.link = nil
	}
	s.changed.Broadcast()
}

func (s *session) isOpen(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.opened
}

// opening is the first message: a new session, or the one that goes on in its
// instance from what has been received.
func (s *session) opening() *execpb.Open {
	if s.opened == nil {
		return s.open
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	open := proto.CloneOf(s.open)
	open.InstanceId = s.opened.GetInstanceId()
	open.Resume = &execpb.Resume{Stdout: s.received[0], Stderr: s.received[1]}
	s.resized = open.GetTty()
	return open
}

// receive takes what comes until the stream ends. After the exit it waits a
// moment for the other side to have heard that it came.
func (s *session) receive(l *link) error {
	for {
		out, err := l.raw.Recv()
		if errors.Is(err, io.EOF) {
			return errs.New(errs.Unavailable, "exec: the session ended without the command's exit code")
		}
		if err != nil {
			return err
		}
		switch kind := out.GetKind().(type) {
		case *execpb.Output_Opened:
			err = s.takeOpened(l, kind.Opened)
		case *execpb.Output_Stdout:
			err = s.takeOutput(0, out.GetOffset(), kind.Stdout)
		case *execpb.Output_Stderr:
			err = s.takeOutput(1, out.GetOffset(), kind.Stderr)
		case *execpb.Output_StdinAck:
			s.takeAck(l, kind.StdinAck)
		case *execpb.Output_Exit:
			s.takeExit(l, kind.Exit)
			defer time.AfterFunc(lastWords, l.cancel).Stop()
		case *execpb.Output_Refused:
			return refused{errs.FromProto(kind.Refused)}
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) takeOpened(l *link, opened *execpb.Opened) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened == nil {
		s.opened = opened
	}
	if !s.input.Holds(opened.GetStdinOffset()) {
		return errs.New(errs.Conflict, "the session is lost: input from byte %d on is wanted, which is not kept", opened.GetStdinOffset())
	}
	l.opened, l.sent = true, opened.GetStdinOffset()
	// What was acknowledged over an older stream may never have arrived.
	l.ackDue = opened.GetResumable() && s.written[0]+s.written[1] > 0
	s.changed.Broadcast()
	return nil
}

// takeOutput keeps what is new of some output until it has been written. The
// other side keeps to the window of a resumable session; otherwise the stream's
// flow control bounds what waits.
func (s *session) takeOutput(stream int, offset uint64, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened.GetResumable() {
		if offset > s.received[stream] {
			return errs.New(errs.Conflict, "the session is lost: output is missing, byte %d came after byte %d", offset, s.received[stream])
		}
		data = data[min(s.received[stream]-offset, uint64(len(data))):]
	}
	for s.waiting > len(s.received)*window && s.failure == nil {
		s.changed.Wait()
	}
	if len(data) > 0 {
		s.received[stream] += uint64(len(data))
		s.waiting += len(data)
		s.output = append(s.output, piece{data, stream})
		s.changed.Broadcast()
	}
	return nil
}

// takeAck forgets input that has arrived. Whoever has got more than this stream
// has sent has it from an earlier one.
func (s *session) takeAck(l *link, to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.input.Discard(to) {
		l.sent = max(l.sent, to)
	}
	s.changed.Broadcast()
}

func (s *session) takeExit(l *link, exit *execpb.Exit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exit, l.ackDue = exit, true
	s.changed.Broadcast()
}

// sendAll is the only sender of a stream.
func (s *session) sendAll(l *link) {
	defer func() { _ = l.raw.CloseSend() }()
	for {
		in := s.next(l)
		// A broken stream is the receiver's to report.
		if in == nil || l.raw.Send(in) != nil {
			return
		}
	}
}

// next waits for something to send over l; nil when there will be nothing.
func (s *session) next(l *link) *execpb.Input {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.link == l && !l.closed {
		if in := s.pending(l); in != nil {
			return in
		}
		s.changed.Wait()
	}
	return nil
}

// pending is what is to be sent now, the most urgent first. Before the other
// side has answered nothing is, for an answer says where input goes on.
func (s *session) pending(l *link) *execpb.Input {
	switch {
	case s.failure != nil:
		l.closed = true
		return &execpb.Input{Kind: &execpb.Input_Close{Close: true}}
	case !l.opened:
	case s.exit != nil:
		l.closed = true
		return s.ack(s.received)
	case s.resized:
		s.resized = false
		return &execpb.Input{Kind: &execpb.Input_Size{Size: s.cfg.Size()}}
	case len(s.orders) > 0:
		in := s.orders[0]
		s.orders = s.orders[1:]
		return in
	case l.ackDue:
		l.ackDue = false
		return s.ack(s.written)
	case l.sent < s.input.End():
		return s.data(l)
	case s.inputEOF && !l.eofSent:
		l.eofSent = true
		return &execpb.Input{Kind: &execpb.Input_StdinEof{StdinEof: true}, Offset: s.input.End()}
	case l.ping:
		l.ping = false
		return &execpb.Input{Kind: &execpb.Input_Ping{Ping: true}}
	}
	return nil
}

func (s *session) ack(of [2]uint64) *execpb.Input {
	s.acked = of[0] + of[1]
	return &execpb.Input{Kind: &execpb.Input_Ack{Ack: &execpb.Ack{Stdout: of[0], Stderr: of[1], Exit: s.exit != nil}}}
}

// data is the next input. What cannot be asked for again is not kept.
func (s *session) data(l *link) *execpb.Input {
	data := s.input.At(l.sent)
	in := &execpb.Input{Kind: &execpb.Input_Stdin{Stdin: data}, Offset: l.sent}
	l.sent += uint64(len(data))
	if !s.opened.GetResumable() {
		s.input.Discard(l.sent)
		s.changed.Broadcast()
	}
	return in
}
