package entrypoint

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"waypoint/api/entrypointpb"
	"waypoint/api/logspb"
	"waypoint/client"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/internal/task"
)

const (
	batchLines = 256
	batchBytes = 20 << 10 // data; with what each line carries it stays below 31 KiB
	batchPause = 50 * time.Millisecond
)

// attach is one attach stream: its goroutines end together.
type attach struct {
	u      *uplink
	stream entrypointpb.Entrypoint_AttachClient
	node   string          // address
	seat   context.Context // streams of it go to the same node
	cancel context.CancelCauseFunc
	opened time.Time
	heard  atomic.Int64 // when the last message came, in nanoseconds since opened
	move   chan struct{}

	generation uint64

	since time.Time
	told  *entrypointpb.ChildState // with hello

	sending sync.Mutex
	closed  bool          // nothing comes after the goodbye
	bye     atomic.Bool   // the goodbye has been sent
	over    chan struct{} // closed when all goroutines have ended; err is set
	err     error
}

// attach opens a stream and waits for the welcome, then starts what goes on
// beside it.
func (u *uplink) attach(ctx context.Context) (*attach, error) {
	seat := client.Sticky(ctx)
	ctx, cancel := context.WithCancelCause(seat)
	a := &attach{
		u: u, seat: seat, cancel: cancel, opened: time.Now(),
		move: make(chan struct{}, 1), over: make(chan struct{}),
	}
	timer := time.AfterFunc(welcomeIn, func() {
		cancel(errs.New(errs.Unavailable, "%s did not answer within %s", client.NodeOf(seat), welcomeIn))
	})
	welcome, err := a.open(ctx)
	if !timer.Stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(err)
		if node := client.NodeOf(seat); node != "" {
			u.client.Avoid(node)
		}
		return nil, why("attach", err)
	}
	u.client.LearnServers(welcome.GetServerAddrs())
	u.attached.Store(true)
	a.since = time.Now()
	group := task.NewGroup(ctx)
	group.Go("", a.receive)
	group.Go("", a.keepAlive)
	group.Go("", func(ctx context.Context) error { return a.ship(ctx, welcome.GetSendLogsAfter()) })
	go func() {
		defer close(a.over)
		a.err = group.Wait()
		if cause := context.Cause(ctx); cause != nil {
			a.err = cause
		}
		cancel(a.err)
	}()
	return a, nil
}

func (a *attach) open(ctx context.Context) (*entrypointpb.Welcome, error) {
	stream, err := a.u.api.Attach(ctx)
	if err != nil {
		return nil, err
	}
	a.stream = stream
	a.node = client.NodeOf(a.seat)
	a.hear()
	hello := a.u.hello()
	a.told, a.generation = hello.GetChild(), hello.GetGeneration()
	if err := a.send(&entrypointpb.Up{Kind: &entrypointpb.Up_Hello{Hello: hello}}); err != nil {
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if first.GetWelcome() == nil {
		return nil, errs.New(errs.Protocol, "the first message of %s is not a welcome", a.node)
	}
	return first.GetWelcome(), nil
}

// end ends the stream and waits for its goroutines. A nil attach has none.
func (a *attach) end() {
	if a != nil {
		a.cancel(errs.New(errs.Canceled, "the attach has ended"))
		<-a.over
	}
}

// retryMove makes up for a move that failed, after a pause.
func (a *attach) retryMove(ctx context.Context, pause *backoff.Backoff) {
	select {
	case <-a.over:
		return
	case <-time.After(pause.Next()):
	case <-ctx.Done():
	}
	select {
	case a.move <- struct{}{}:
	default:
	}
}

// send sends one message, unless the goodbye has been sent. That the stream has
// ended, and why, is for receive to find out.
func (a *attach) send(up *entrypointpb.Up) error {
	a.sending.Lock()
	defer a.sending.Unlock()
	if a.closed {
		return nil
	}
	if err := a.stream.Send(up); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// hear notes that the home node has said something. The time counts from the
// opening, so that a jump of the system's clock makes nobody silent.
func (a *attach) hear() { a.heard.Store(int64(time.Since(a.opened))) }

// receive handles what the home node says until the stream ends.
func (a *attach) receive(ctx context.Context) error {
	for {
		down, err := a.stream.Recv()
		if errors.Is(err, io.EOF) {
			if a.bye.Load() {
				a.u.left()
			}
			return errs.New(errs.Unavailable, "%s ended the stream", a.node)
		}
		if err != nil {
			return why("attached to "+a.node, err)
		}
		a.hear()
		switch kind := down.GetKind().(type) {
		case *entrypointpb.Down_Config:
			a.u.offer(kind.Config, a.generation)
		case *entrypointpb.Down_Restart:
			a.u.turn(kind.Restart.GetStarts())
		case *entrypointpb.Down_Exec:
			a.u.execs.open(a.seat, kind.Exec.GetSessionId())
		case *entrypointpb.Down_Move:
			a.u.client.LearnServers(kind.Move.GetServerAddrs())
			a.u.client.Prefer(kind.Move.GetServerAddrs())
			select {
			case a.move <- struct{}{}:
			default:
			}
		}
	}
}

// keepAlive pings, tells of the child, and gives up a node that is silent.
func (a *attach) keepAlive(ctx context.Context) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	told := a.told
	for {
		child, news := a.u.childState()
		if child != told {
			if err := a.send(&entrypointpb.Up{Kind: &entrypointpb.Up_Child{Child: child}}); err != nil {
				return err
			}
			told = child
		}
		select {
		case <-ctx.Done():
			return nil
		case <-news:
		case <-tick.C:
			if quiet := time.Since(a.opened) - time.Duration(a.heard.Load()); quiet > silence {
				return errs.New(errs.Unavailable, "%s has said nothing for %s", a.node, quiet.Round(time.Second))
			}
			if err := a.send(&entrypointpb.Up{Kind: &entrypointpb.Up_Ping{Ping: true}}); err != nil {
				return err
			}
		}
	}
}

// ship sends the ring's lines from after on, a first one at once and then in
// batches, for which it waits a moment, but not while the app fills one faster
// than that: the ring would overflow. When the ring has ended it says goodbye.
func (a *attach) ship(ctx context.Context, after uint64) error {
	lines := a.u.book.ring.Reader(after)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		batch, gap, err := lines.Next(ctx, batchLines, batchBytes)
		if errors.Is(err, io.EOF) {
			return a.goodbye(ctx)
		}
		if err != nil {
			return nil // the context has ended
		}
		up := &entrypointpb.LogBatch{Lines: batch, DroppedLines: gap.GetLines(), DroppedBytes: gap.GetBytes()}
		if err := a.send(&entrypointpb.Up{Kind: &entrypointpb.Up_Logs{Logs: up}}); err != nil {
			return err
		}
		if full(batch) {
			continue // there is more: a pause would make us slower than the app
		}
		pause.Reset(batchPause)
		lines.Gather(ctx, pause.C, batchLines, batchBytes)
	}
}

// full tells whether a batch may have left lines behind.
func full(batch []*logspb.Line) bool {
	bytes := 0
	for _, l := range batch {
		bytes += len(l.GetData())
	}
	return len(batch) == batchLines || bytes >= batchBytes/2
}

// goodbye tells how the process ends and waits for the home node to end the stream,
// which says that it has everything.
func (a *attach) goodbye(ctx context.Context) error {
	var bye *entrypointpb.Goodbye
	select {
	case bye = <-a.u.goodbye:
		a.u.goodbye <- bye // for another node, if this one fails now
	case <-ctx.Done():
		return nil
	}
	// The last state of the child goes first: it may still be on its way.
	child, _ := a.u.childState()
	if err := a.send(&entrypointpb.Up{Kind: &entrypointpb.Up_Child{Child: child}}); err != nil {
		return err
	}
	a.bye.Store(true)
	if err := a.send(&entrypointpb.Up{Kind: &entrypointpb.Up_Goodbye{Goodbye: bye}}); err != nil {
		return err
	}
	a.sending.Lock()
	defer a.sending.Unlock()
	a.closed = true
	return a.stream.CloseSend()
}
