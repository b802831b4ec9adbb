package entrypoint

import (
	"time"

	"waypoint/api/execpb"
	"waypoint/errs"
)

// takeInput keeps input for the command. In a resumable session nobody waits
// here, since acknowledgements come the same way: who sends more than the
// window holds breaks the rules. Otherwise the stream's flow control does the
// rest.
func (s *execSession) takeInput(l *execLink, offset uint64, data []byte) error {
	if !s.resumable && !s.awaitInput(l) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.resumable:
		s.input.Write(data)
	case !s.input.Accept(offset, data):
		return errs.New(errs.Invalid, "input is missing: byte %d came after byte %d", offset, s.input.End())
	case s.input.Len() > window:
		return errs.New(errs.Exhausted, "more than %d bytes of input wait for the command", window)
	}
	s.changed.Broadcast()
	return nil
}

// awaitInput waits until input may be kept; false if it is not wanted.
func (s *execSession) awaitInput(l *execLink) bool {
	s.mu.Lock()
	full := s.input.Len() >= window
	s.mu.Unlock()
	if full {
		defer l.probe()()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.input.Len() >= window && !s.exited && !s.over && l.ctx.Err() == nil {
		s.changed.Wait()
	}
	return !s.exited && !s.over && l.ctx.Err() == nil
}

func (s *execSession) takeEOF() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inputEOF = true
	s.changed.Broadcast()
}

// takeAck forgets output that has been received.
func (s *execSession) takeAck(l *execLink, ack *execpb.Ack) error {
	if !s.resumable {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, to := range []uint64{ack.GetStdout(), ack.GetStderr()} {
		if !s.outputs[i].Discard(to) {
			return errs.New(errs.Invalid, "output was acknowledged up to byte %d, there are %d", to, s.outputs[i].End())
		}
		l.sent[i] = max(l.sent[i], to)
	}
	if ack.GetExit() && s.exited {
		s.over = true
	}
	s.changed.Broadcast()
	return nil
}

// feed writes input to the command. After a failure, for the command may have
// closed its end, the rest is dropped.
func (s *execSession) feed() {
	c, broken := s.command, s.command.stdin == nil
	for {
		data, more := s.nextInput()
		switch {
		case !more:
			return
		case broken:
		case data != nil:
			_, err := c.stdin.Write(data)
			broken = err != nil
		case c.terms != nil:
			_, _ = c.terms.Write([]byte{endOfText})
		default:
			c.stdin.Close()
		}
		if data == nil {
			return
		}
		s.fed(len(data))
	}
}

// nextInput waits for input; nil is its end. more is false if the command takes
// none any more.
func (s *execSession) nextInput() (data []byte, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.exited && !s.over {
		if s.input.Len() > 0 {
			return s.input.At(s.input.Start()), true
		}
		if s.inputEOF {
			return nil, true
		}
		s.changed.Wait()
	}
	return nil, false
}

// fed notes that the command has taken input, which is acknowledged at once if
// it is much and soon if it is not.
func (s *execSession) fed(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.input.Discard(s.input.Start() + uint64(n))
	s.changed.Broadcast()
	if s.link != nil && s.input.Start()-s.link.acked >= ackBytes {
		s.link.ackDue = true
		return
	}
	if s.resumable && s.ackSoon == nil {
		s.ackSoon = time.AfterFunc(ackAfter, s.ackNow)
	}
}

func (s *execSession) ackNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ackSoon = nil
	if s.link != nil && s.link.acked < s.input.Start() {
		s.link.ackDue = true
	}
	s.changed.Broadcast()
}
