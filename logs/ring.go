// Package logs keeps the newest lines of a source in bounded memory, lets any
// number of readers follow them at their own speed, and merges several sources
// by time. A reader that is too slow gets a gap with its size, never memory.
//
// It is linked into the entrypoint, so it imports nothing but the line's
// message. It must not know where lines come from or where they go.
package logs

import (
	"slices"
	"sort"
	"sync"

	"waypoint/api/logspb"
)

// ReasonOverwritten is the reason of a gap whose lines the ring no longer
// holds.
const ReasonOverwritten = "ring overwritten"

// lineOverhead is what a kept line costs beside its data, in bytes.
const lineOverhead = 96

// Ring holds the newest lines of one source, bounded by their size. All its
// methods may be called from several goroutines at once.
type Ring struct {
	mu     sync.Mutex
	max    int     // bytes, lineOverhead included
	size   int     // bytes in buf[head:], lineOverhead included
	buf    []entry // buf[:head] is free
	head   int
	last   uint64        // newest seq appended, kept or not
	base   uint64        // seq before the first line ever appended
	total  uint64        // data bytes appended or lost since base
	wake   chan struct{} // closed at the next change; nil while nobody waits
	plenty []*plenty     // readers that wait for more than one line
	closed bool
}

// entry is a kept line. before counts the data bytes of the source that came
// before it, as far as the ring knows.
type entry struct {
	line   *logspb.Line
	before uint64
}

// plenty is what a reader waits for that would rather have many lines than the
// next one.
type plenty struct {
	seq   uint64 // of the newest line, from which on it is enough
	total uint64 // or of all data bytes
	wake  chan struct{}
}

// NewRing returns an empty ring that keeps at most maxBytes of lines.
func NewRing(maxBytes int) *Ring {
	return &Ring{max: maxBytes}
}

// Append adds a line, which nobody may change from then on, and drops the
// oldest lines that no longer fit. A line whose seq is not above the last one's
// is ignored, as is every line after Close. A line that is larger than the whole
// ring counts as lost.
func (r *Ring) Append(l *logspb.Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || l.GetSeq() <= r.last {
		return
	}
	if r.last == 0 {
		r.base = l.GetSeq() - 1
	}
	r.buf = append(r.buf, entry{line: l, before: r.total})
	r.size += cost(l)
	r.last = l.GetSeq()
	r.total += uint64(len(l.GetData()))
	r.trim()
	r.signal()
}

// Lost says that so many bytes of lines before the next appended one are gone;
// their number shows in that line's seq.
func (r *Ring) Lost(bytes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total += bytes
}

// Bounds returns the seq of the oldest and the newest line kept: 0, 0 when there
// is none.
func (r *Ring) Bounds() (first, last uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.head == len(r.buf) {
		return 0, 0
	}
	return r.buf[r.head].line.GetSeq(), r.buf[len(r.buf)-1].line.GetSeq()
}

// Last returns the newest seq that was appended, 0 before the first.
func (r *Ring) Last() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Size returns the bytes that the kept lines take.
func (r *Ring) Size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size
}

// SetLimit changes the bound and drops the oldest lines that no longer fit.
func (r *Ring) SetLimit(maxBytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.max = maxBytes
	r.trim()
}

// Close ends the source: readers get what is left, then io.EOF.
func (r *Ring) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.signal()
}

// Closed tells whether the source has ended.
func (r *Ring) Closed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

func cost(l *logspb.Line) int {
	return len(l.GetData()) + lineOverhead
}

// trim drops the oldest entries until the rest fits, and moves the rest down
// when most of buf is free, which costs a constant time per line.
func (r *Ring) trim() {
	for r.size > r.max && r.head < len(r.buf) {
		r.size -= cost(r.buf[r.head].line)
		r.buf[r.head] = entry{}
		r.head++
	}
	kept := len(r.buf) - r.head
	if r.head < 32 || r.head < kept {
		return
	}
	if kept*4 < cap(r.buf) {
		r.buf = append(make([]entry, 0, kept*2), r.buf[r.head:]...)
	} else {
		copy(r.buf, r.buf[r.head:])
		clear(r.buf[kept:])
		r.buf = r.buf[:kept]
	}
	r.head = 0
}

// signal wakes the readers that wait.
func (r *Ring) signal() {
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
	if len(r.plenty) > 0 {
		r.plenty = slices.DeleteFunc(r.plenty, r.enough)
	}
}

// enough wakes a reader that waits for so much.
func (r *Ring) enough(p *plenty) bool {
	enough := r.closed || r.last >= p.seq || r.total >= p.total
	if enough {
		close(p.wake)
	}
	return enough
}

// changed returns a channel that is closed at the next change.
func (r *Ring) changed() <-chan struct{} {
	if r.wake == nil {
		r.wake = make(chan struct{})
	}
	return r.wake
}

// find returns the index in buf of the first kept line with a seq above after.
func (r *Ring) find(after uint64) int {
	kept := r.buf[r.head:]
	return r.head + sort.Search(len(kept), func(i int) bool { return kept[i].line.GetSeq() > after })
}
