package entrypoint

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"waypoint/api/logspb"
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
	defer lines.flush()
	buffer := make([]byte, copyBuffer)
	broken := false
	for {
		var limit time.Time
		if lines.pending() {
			limit = time.Now().Add(flushAfter)
		}
		_ = p.from.SetReadDeadline(limit)
		n, err := p.from.Read(buffer)
		lines.take(buffer[:n])
		if n > 0 && !broken {
			// A stream that nobody reads any more must not end the child,
			// nor its log.
			_, writeErr := p.to.Write(buffer[:n])
			broken = writeErr != nil
		}
		o.copied.Add(uint64(n))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			lines.flush()
		case err != nil:
			return
		}
	}
}

// finish takes what is still in the pipes after the last child. It gives up
// when nothing has moved for idle, or after longest: something that has left
// the process group may keep a pipe open for ever.
func (o *outputs) finish(idle, longest time.Duration) {
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
		case <-tick.C:
			now := o.copied.Load()
			if now == before {
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
	done  chan struct{}
}

func newQuietly(to io.Writer) *quietly {
	q := &quietly{queue: make(chan []byte, 64), done: make(chan struct{})}
	go func() {
		defer close(q.done)
		for line := range q.queue {
			_, _ = to.Write(line)
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

// finish waits a moment for what is queued. Nothing may be written after it.
func (q *quietly) finish(wait time.Duration) {
	close(q.queue)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-q.done:
	case <-timer.C:
	}
}
