package entrypoint

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/replay"
	"waypoint/internal/task"
)

const (
	resumeWithin = 10 * time.Second              // after a stream was lost
	exitWithin   = resumeWithin + 20*time.Second // for the exit to be known: a silent loss is noticed after 16 s
	window       = 256 << 10                     // bytes of each stream that are not acknowledged
)

var errNotResumed = errs.New(errs.Canceled, "the session's stream was lost and nobody has resumed it")

// execSession is one session: a command, and what its two sides have not
// acknowledged to each other. It goes over one stream at a time. A resumable
// one outlives its streams: it keeps output until that is acknowledged and
// stops to read from the command when that is too much, so that somebody who
// reads slowly holds up this session only.
type execSession struct {
	id, instance string
	token        string // id of the token that opened it
	argv         []string
	resumable    bool
	command      *command
	end          context.CancelCauseFunc // ends it with its command

	mu       sync.Mutex
	changed  sync.Cond
	link     *execLink        // the stream in use; nil: none
	outputs  [2]replay.Buffer // of the command, what has not been acknowledged
	input    replay.Buffer    // from what the command has taken to what has come
	inputEOF bool
	exited   bool // the command has, and all its output has been read
	failure  error
	closed   bool        // the other side has asked for the end
	over     bool        // nobody waits for anything of it any more
	lonely   *time.Timer // ends a session that nobody resumes or acknowledges
	ackSoon  *time.Timer // for input that has been taken
}

func newExecSession(id, instance string, open *execpb.Open, c *command, end context.CancelCauseFunc) *execSession {
	s := &execSession{
		id: id, instance: instance, token: open.GetTokenId(), argv: open.GetArgv(),
		resumable: open.GetResumable(), command: c, end: end,
	}
	s.changed.L = &s.mu
	return s
}

// bind makes l the session's stream, in place of an older one. To go on from
// somewhere acknowledges what came before it: an acknowledgement may have been
// lost with the older stream.
func (s *execSession) bind(l *execLink, from *execpb.Resume) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	offsets := [2]uint64{from.GetStdout(), from.GetStderr()}
	if s.over {
		return errs.New(errs.NotFound, "exec session %s cannot be resumed: it has ended", s.id)
	}
	for i := range s.outputs {
		if !s.outputs[i].Holds(offsets[i]) {
			return errs.New(errs.Conflict, "exec session %s cannot be resumed: its output is not kept from byte %d on, but from %d to %d",
				s.id, offsets[i], s.outputs[i].Start(), s.outputs[i].End())
		}
	}
	for i := range s.outputs {
		s.outputs[i].Discard(offsets[i])
	}
	if s.link != nil {
		s.link.cancel(errReplaced)
	}
	if s.lonely != nil {
		s.lonely.Stop()
	}
	s.link, l.sent, l.ackDue = l, offsets, s.input.Start() > 0
	l.opened = &execpb.Output{Kind: &execpb.Output_Opened{Opened: &execpb.Opened{
		SessionId: s.id, InstanceId: s.instance, Pid: uint32(s.command.process.pid),
		StdinOffset: s.input.End(), Resumable: s.resumable,
	}}}
	s.changed.Broadcast()
	return nil
}

// unbind notes that a stream has ended.
func (s *execSession) unbind(l *execLink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return
	}
	s.link = nil
	s.changed.Broadcast()
	if !s.resumable {
		s.end(errStreamEnded)
		return
	}
	s.expect()
}

// expect ends the session if nothing is heard of it for too long. Who has
// asked for the end need not know more.
func (s *execSession) expect() {
	if s.lonely != nil {
		s.lonely.Stop()
	}
	limit := resumeWithin
	if s.exited && !s.closed {
		limit = exitWithin
	}
	s.lonely = time.AfterFunc(limit, func() { s.end(errNotResumed) })
}

// run sees to the command until it has ended and the other side knows it, or
// ctx ends, which ends the command.
func (s *execSession) run(ctx context.Context) {
	defer context.AfterFunc(ctx, s.forget)()
	var inputs, outputs sync.WaitGroup
	inputs.Go(guarded(s.end, s.feed))
	for i := range s.command.outputs {
		outputs.Go(guarded(s.end, func() { s.collect(i) }))
	}
	patience := othersOutput
	select {
	case <-s.command.process.ended:
	case <-s.command.asked:
		patience = closedOutput
		s.command.hangUp()
	case <-ctx.Done():
		patience = closedOutput
		s.command.hangUp()
	}
	s.command.endGroup()
	s.drain(ctx, patience, &outputs)
	s.command.close()
	s.mu.Lock()
	s.exited = true
	if s.resumable && s.link == nil {
		s.expect()
	}
	s.changed.Broadcast()
	for !s.over {
		s.changed.Wait()
	}
	s.mu.Unlock()
	inputs.Wait()
	s.quiet()
}

// drain waits for the last output of an ended command, less long if it is not
// wanted any more.
func (s *execSession) drain(ctx context.Context, patience time.Duration, outputs *sync.WaitGroup) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		outputs.Wait()
	}()
	s.command.drain(patience)
	select {
	case <-read:
		return
	case <-s.command.asked:
	case <-ctx.Done():
	}
	s.command.drain(closedOutput)
	<-read
}

// quiet stops what would still happen later.
func (s *execSession) quiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, timer := range []*time.Timer{s.lonely, s.ackSoon} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// forget notes that nothing is to be kept any more.
func (s *execSession) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.changed.Broadcast()
}

// fail refuses to go on with a session whose other side has broken the rules,
// and ends its command.
func (s *execSession) fail(err error) {
	s.mu.Lock()
	if s.failure == nil {
		s.failure = err
	}
	s.changed.Broadcast()
	s.mu.Unlock()
	s.command.ask()
}

func (s *execSession) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}

// next waits for something to send over l; nil when there will be nothing.
func (s *execSession) next(l *execLink) *execpb.Output {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.link == l && l.ctx.Err() == nil {
		if out := s.pending(l); out != nil {
			return out
		}
		if s.over {
			l.cancel(errStreamEnded)
			return nil
		}
		s.changed.Wait()
	}
	return nil
}

// pending is what is to be sent now, the most urgent first.
func (s *execSession) pending(l *execLink) *execpb.Output {
	switch {
	case l.opened != nil:
		out := l.opened
		l.opened = nil
		return out
	case s.failure != nil:
		return &execpb.Output{Kind: &execpb.Output_Refused{Refused: errs.ToProto(s.failure)}}
	case l.pong:
		l.pong = false
		return &execpb.Output{Kind: &execpb.Output_Pong{Pong: true}}
	case l.ackDue && s.resumable:
		l.ackDue, l.acked = false, s.input.Start()
		return &execpb.Output{Kind: &execpb.Output_StdinAck{StdinAck: l.acked}}
	}
	for range s.outputs {
		i := l.turn
		l.turn = (l.turn + 1) % len(s.outputs)
		if data := s.outputs[i].At(l.sent[i]); len(data) > 0 {
			return s.data(l, i, data)
		}
	}
	if !s.exited || l.exitSent {
		return nil
	}
	l.exitSent = true
	if s.resumable {
		s.expect()
	}
	return &execpb.Output{Kind: &execpb.Output_Exit{Exit: &execpb.Exit{Code: int32(s.command.process.code)}}}
}

// data is the message of some output. What cannot be asked for again is not
// kept.
func (s *execSession) data(l *execLink, i int, data []byte) *execpb.Output {
	out := &execpb.Output{Offset: l.sent[i], Kind: &execpb.Output_Stdout{Stdout: data}}
	if i == 1 {
		out.Kind = &execpb.Output_Stderr{Stderr: data}
	}
	l.sent[i] += uint64(len(data))
	if !s.resumable {
		s.outputs[i].Discard(l.sent[i])
		s.changed.Broadcast()
	}
	return out
}

// collect reads what the command writes to one of its outputs, as long as
// there is room for it.
func (s *execSession) collect(i int) {
	out, buffer := s.command.outputs[i], make([]byte, chunk)
	for late := 0; late < lateOutput; {
		room := s.room(i)
		if room == 0 {
			return
		}
		n, err := out.from.Read(buffer[:min(room, chunk)])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// The deadline may be over because we were kept from reading.
			n, err = readNow(out.from, buffer[:min(room, chunk)])
		}
		if n > 0 {
			s.mu.Lock()
			s.outputs[i].Write(buffer[:n])
			s.changed.Broadcast()
			s.mu.Unlock()
			if out.extend() {
				late += n
			}
		}
		if err != nil {
			return // the end of a pipe, of a terminal, or of our patience
		}
	}
}

// room waits until output may be read and returns how much; 0 if nobody wants
// it any more.
func (s *execSession) room(i int) int {
	limit := window
	if !s.resumable {
		limit = chunk // it is not kept, only on its way
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over && s.outputs[i].Len() >= limit {
		s.changed.Wait()
	}
	if s.over {
		return 0
	}
	return limit - s.outputs[i].Len()
}

// guarded returns fn so that a panic in it ends the session, not the process.
func guarded(cancel context.CancelCauseFunc, fn func()) func() {
	return func() {
		if err := task.Protect(func() error { fn(); return nil }); err != nil {
			cancel(err)
		}
	}
}
