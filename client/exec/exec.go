// Package exec is the asking side of an exec session: it carries standard
// streams, signals and window sizes to a command inside an instance, and brings
// its output and exit code back. A stream of the session that is lost is
// replaced by another one, through whatever node the connection finds, without
// a byte lost or doubled. It knows the messages of a session and nothing of who
// uses it.
package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/internal/ids"
	"waypoint/internal/replay"
)

// ResumeWithin is how long a session waits to be resumed after its stream was
// lost; then its command is ended.
const ResumeWithin = 10 * time.Second

const (
	window      = 256 << 10        // bytes of each stream that are not acknowledged
	ackBytes    = 64 << 10         // of output that are acknowledged at once
	pingEvery   = 15 * time.Second // keeps the stream alive while nothing is typed
	lastWords   = time.Second      // for what is said at the end to arrive
	inFlight    = 2 * time.Second  // that an attempt to resume may last beyond ResumeWithin
	noticeAfter = 2 * time.Second  // of a pause
	minPause    = 50 * time.Millisecond
	maxPause    = time.Second
	maxOrders   = 64 // signals that wait to be sent
	giveUpAt    = 3  // interrupts
)

// Config says what to run and what to carry.
type Config struct {
	// Open names the instance or app and the command. Its session id is made if
	// it has none.
	Open   *execpb.Open
	Stdin  io.Reader // read if Open.Stdin
	Stdout io.Writer
	Stderr io.Writer
	// Signals are passed on. A change of the window's size is sent as such; the
	// third interrupt gives the session up. Nil: there are none.
	Signals <-chan os.Signal
	// Size returns the size of the terminal, with Open.Tty.
	Size func() *execpb.WindowSize
	// Notice is told once of a pause that a user would notice; nil: nobody is.
	Notice func(text string)
}

// Run runs a command and returns its exit code. It ends early when ctx does, and
// then has the command ended. What it has started ends with it, but for a read
// from standard input and, if it ends early, a write of output, which cannot be
// called off.
func Run(ctx context.Context, api execpb.ExecClient, cfg Config) (code int, err error) {
	s := newSession(api, cfg)
	over, written := make(chan struct{}), make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(over) })
	go func() {
		defer close(written)
		s.write()
	}()
	if cfg.Open.GetStdin() {
		go s.read()
	}
	stop := context.AfterFunc(ctx, func() { s.giveUp(errs.New(errs.Canceled, "exec: %w", context.Cause(ctx))) })
	err = s.converse(ctx)
	s.finish()
	s.awaitWritten(written)
	stop()
	close(over)
	watching.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		err = s.failure
	}
	return int(s.exit.GetCode()), err
}

// session is one command in one instance. It goes over one stream at a time.
type session struct {
	api    execpb.ExecClient
	cfg    Config
	open   *execpb.Open
	opened *execpb.Opened // nil until the command has been started
	done   chan struct{}  // closed at the end

	mu       sync.Mutex
	changed  sync.Cond
	link     *link // nil while there is no stream
	input    replay.Buffer
	inputEOF bool
	orders   []*execpb.Input // signals
	resized  bool
	output   []piece
	waiting  int       // bytes in output
	received [2]uint64 // bytes of each output that have come
	written  [2]uint64 // and that have been written
	acked    uint64    // of both
	exit     *execpb.Exit
	failure  error         // why we end it ourselves
	failed   chan struct{} // closed when there is a failure
}

// piece is some output.
type piece struct {
	data   []byte
	stream int // 0: stdout, 1: stderr
}

func newSession(api execpb.ExecClient, cfg Config) *session {
	s := &session{api: api, cfg: cfg, open: cfg.Open, done: make(chan struct{}), failed: make(chan struct{})}
	s.open.Resumable = true
	if s.open.GetSessionId() == "" {
		s.open.SessionId = ids.New()
	}
	s.changed.L = &s.mu
	return s
}

// converse carries the session over one stream after the other until it has
// ended or cannot go on.
func (s *session) converse(ctx context.Context) error {
	pause := backoff.New(minPause, maxPause)
	var lost time.Time // when the last stream that worked was; zero: it works
	for {
		opened, err := s.stream(ctx, lost)
		if s.ended() {
			return nil
		}
		if err := s.final(err); err != nil {
			return err
		}
		if opened || lost.IsZero() {
			lost = time.Now()
			pause.Reset()
			notice := time.AfterFunc(noticeAfter, s.notice)
			defer notice.Stop()
		}
		left := time.Until(lost.Add(ResumeWithin))
		if left <= 0 {
			return fmt.Errorf("exec: the session is lost: %w; it could not be resumed within %s, and the command is ended there; run it again, another server will take it", err, ResumeWithin)
		}
		waiting, cancel := context.WithTimeout(ctx, left)
		_ = pause.Wait(waiting)
		cancel()
	}
}

// refused is what the other side refuses in so many words.
type refused struct{ error }

// final is the error of a session that cannot go on after this one of its
// stream; nil if it can.
func (s *session) final(err error) error {
	var refusal refused
	switch {
	case errors.As(err, &refusal):
		return fmt.Errorf("exec: %w", refusal.error)
	case s.opened == nil:
		return err // nothing has begun: the server says by itself what it could not do
	case !retryable(err):
		return fmt.Errorf("exec: %w", err)
	case !s.opened.GetResumable():
		return fmt.Errorf("exec: the session is lost: %w; the command is ended there; run it again, another server will take it", err)
	}
	return nil
}

// notice tells of a pause that lasts.
func (s *session) notice() {
	s.mu.Lock()
	away := s.link == nil || !s.link.opened
	s.mu.Unlock()
	if away && s.cfg.Notice != nil {
		s.cfg.Notice("The connection to the session is lost; resuming it ...")
	}
}

// ended tells whether the command has ended or we have given the session up.
func (s *session) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exit != nil || s.failure != nil
}

func retryable(err error) bool {
	return errors.Is(err, io.EOF) || errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Canceled) || errs.Is(err, errs.Deadline)
}

// giveUp has the command ended, without waiting for it for long.
func (s *session) giveUp(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil && (s.exit == nil || s.waiting > 0) {
		s.failure = why
		close(s.failed)
	}
	if s.link != nil {
		time.AfterFunc(lastWords, s.link.cancel)
	}
	s.changed.Broadcast()
}

// awaitWritten waits until all output is written. Once the session is given up
// it waits for what is stuck a moment only, and has the rest dropped.
func (s *session) awaitWritten(written <-chan struct{}) {
	select {
	case <-written:
		return
	case <-s.failed:
	}
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-written:
	case <-timer.C:
		s.mu.Lock()
		s.output = nil
		s.mu.Unlock()
	}
}

// finish lets the other goroutines end when they have done what is left.
func (s *session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.done)
	s.changed.Broadcast()
}

func (s *session) finished() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
