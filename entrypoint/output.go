package entrypoint

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"waypoint/api/logspb"
	"waypoint/internal/task"
)

const (
	flushAfter = 100 * time.Millisecond // for an unfinished line to be logged
	copyBuffer = 16 << 10               // bytes
)

// outputs are the ways that a child's output takes. A stream that is a
// terminal, and every stream of an entrypoint without servers, is the child's
// directly; the others go through a pipe into the log and then, unchanged, to
// our own stream. The pipes outlive the child, so a restart loses nothing.
type outputs struct {
	book           *logbook
	stdout, stderr *os.File // what a child is given
	pipes          []*pipe
	copied         atomic.Uint64 // bytes
	blocked        atomic.Int32  // writes under way
	copiers        sync.WaitGroup
}

type pipe struct {
	source logspb.Source
	from   *os.File // our end
	child  *os.File // the child's end
	to     *os.File // our own stream
}

// openOutputs makes the pipes; with a nil book it makes none.
func openOutputs(book *logbook, stdout, stderr *os.File) (*outputs, error) {
	o := &outputs{book: book, stdout: stdout, stderr: stderr}
	if book == nil {
		return o, nil
	}
	for _, s := range []struct {
		source logspb.Source
		own    *os.File
		child  **os.File
	}{{logspb.Source_SOURCE_STDOUT, stdout, &o.stdout}, {logspb.Source_SOURCE_STDERR, stderr, &o.stderr}} {
		if isTerminal(s.own) {
			continue
		}
		from, child, err := os.Pipe()
		if err != nil {
			o.close()
			return nil, err
		}
		*s.child = child
		o.pipes = append(o.pipes, &pipe{source: s.source, from: from, child: child, to: s.own})
	}
	for _, p := range o.pipes {
		o.copiers.Go(func() { o.copy(p) })
	}
	return o, nil
}

// copy logs and passes on one stream until nobody can write to it any more.
// The log comes first: if our own stream blocks, the child waits as it would
// without us, but the line is known.
func (o *outputs) copy(p *pipe) {
	lines := &cutter{book: o.book, source: p.source}
	deaf := false // a defect in the log costs the log, not the output
	note := func(do func()) {
		deaf = deaf || task.Protect(func() error { do(); return nil }) != nil
	}
	defer note(lines.flush)
	buffer := make([]byte, copyBuffer)
	for {
		var limit time.Time
		if lines.pending() && !deaf {
			limit = time.Now().Add(flushAfter)
		}
		_ = p.from.SetReadDeadline(limit)
		n, err := p.from.Read(buffer)
		note(func() { lines.take(buffer[:n]) })
		if n > 0 {
			// A stream that takes nothing now, for nobody reads it or its
			// disk is full, must end neither the child nor its log, and may
			// take the next write.
			o.blocked.Add(1)
			_, _ = p.to.Write(buffer[:n])
			o.blocked.Add(-1)
		}
		o.copied.Add(uint64(n))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			note(lines.flush)
		case err != nil:
			return
		}
	}
}

// finish takes what is still in the pipes after the last child. It gives up
// when nothing has moved for idle, for something that has left the process
// group may keep a pipe open for ever; when our own streams have not taken
// what there is within longest; and when it is interrupted.
func (o *outputs) finish(idle, longest time.Duration, interrupt <-chan os.Signal) {
	for _, p := range o.pipes {
		p.child.Close()
	}
	done := make(chan struct{})
	go func() {
		o.copiers.Wait()
		close(done)
	}()
	end := time.NewTimer(longest)
	defer end.Stop()
	tick := time.NewTicker(max(idle, time.Millisecond))
	defer tick.Stop()
	for before := o.copied.Load(); ; {
		select {
		case <-done:
			return
		case <-end.C:
			return
		case sig := <-interrupt:
			if final(sig.(syscall.Signal)) {
				return
			}
		case <-tick.C:
			now := o.copied.Load()
			if now == before && o.blocked.Load() == 0 {
				return
			}
			before = now
		}
	}
}

func (o *outputs) close() {
	for _, p := range o.pipes {
		p.from.Close()
		p.child.Close()
	}
}

// quietly is a writer for our own words that never blocks: what does not fit
// into its queue is dropped.
type quietly struct {
	queue chan []byte
	over  chan struct{} // closed by finish
	done  chan struct{}
}

func newQuietly(to io.Writer) *quietly {
	q := &quietly{queue: make(chan []byte, 64), over: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(q.done)
		if f, ok := to.(*os.File); ok && isTerminal(f) {
			quietThread()
		}
		for {
			select {
			case line := <-q.queue:
				_, _ = to.Write(line)
				continue
			case <-q.over:
			}
			select {
			case line := <-q.queue:
				_, _ = to.Write(line)
			default:
				return
			}
		}
	}()
	return q
}

// Write queues a copy of p.
func (q *quietly) Write(p []byte) (int, error) {
	select {
	case q.queue <- append([]byte(nil), p...):
	default:
	}
	return len(p), nil
}

// finish waits a moment for what is queued. What is written after it may be
// lost.
func (q *quietly) finish(wait time.Duration) {
	close(q.over)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-q.done:
	case <-timer.C:
	}
}
