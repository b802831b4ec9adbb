package entrypoint

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"waypoint/api/logspb"
	"waypoint/logs"
)

// maxLine is the length from which on a line is cut and marked, in bytes: what a
// message carries stays below 31 KiB, above which gRPC takes far larger buffers.
const maxLine = 30 << 10

// logbook numbers the lines of all sources and keeps them in the ring.
type logbook struct {
	ring *logs.Ring
	now  func() time.Time

	mu  sync.Mutex
	seq uint64
}

func newLogbook(maxBytes int) *logbook {
	return &logbook{ring: logs.NewRing(maxBytes), now: time.Now}
}

// write adds a line. It copies data.
func (b *logbook) write(source logspb.Source, data []byte, partial bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seq++
	b.ring.Append(&logspb.Line{
		Seq:     b.seq,
		Time:    b.now().UnixNano(),
		Source:  source,
		Partial: partial,
		Data:    bytes.Clone(data),
	})
}

// say adds a word of the entrypoint itself.
func (b *logbook) say(format string, args ...any) {
	b.write(logspb.Source_SOURCE_ENTRYPOINT, fmt.Appendf(nil, format, args...), false)
}

// cutter makes lines of what one stream carries.
type cutter struct {
	book   *logbook
	source logspb.Source
	rest   []byte // of a line whose end has not come
}

// take cuts data into lines.
func (c *cutter) take(data []byte) {
	for len(data) > 0 {
		line, after, ended := bytes.Cut(data, []byte{'\n'})
		for len(c.rest)+len(line) > maxLine {
			n := maxLine - len(c.rest)
			c.write(line[:n], true)
			line = line[n:]
		}
		if ended {
			c.write(line, false)
		} else {
			c.rest = append(c.rest, line...)
		}
		data = after
	}
}

// flush gives out what has come of an unfinished line.
func (c *cutter) flush() {
	if c.pending() {
		c.write(nil, true)
	}
}

func (c *cutter) pending() bool { return len(c.rest) > 0 }

func (c *cutter) write(line []byte, partial bool) {
	if c.pending() {
		line = append(c.rest, line...)
		c.rest = c.rest[:0]
		defer c.shrink()
	}
	c.book.write(c.source, line, partial)
}

// shrink lets go of the memory of a long line.
func (c *cutter) shrink() {
	if cap(c.rest) > 8<<10 {
		c.rest = nil
	}
}
