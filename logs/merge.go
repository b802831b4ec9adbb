package logs

import (
	"container/heap"
	"time"

	"waypoint/api/logspb"
)

// Merger puts the lines of several instances into one order: by time, then by
// instance and seq. It holds a line back until every open instance has one to
// compare with, but no longer than a set time, and holds no more than a set
// size. An instance's own lines never change their order. It has no clock: the
// caller says what time it is. It is for one goroutine.
type Merger struct {
	hold    time.Duration
	max     int
	size    int
	sources map[string]*source
	heads   sourceHeap // those with something queued, least first
	waiting int        // open sources with nothing queued
	arrived []arrival  // in order of time
}

// source is the queue of one instance.
type source struct {
	instance string
	queue    []item
	head     int
	index    int // in heads, -1 when nothing is queued
	last     uint64
	key      int64 // of the newest queued item: never falls
	added    uint64
	released uint64
	open     bool
}

// item is a line, or a gap, or the end.
type item struct {
	key   int64
	line  *logspb.Line
	gap   *logspb.Gap
	ended bool
}

// arrival remembers that a source's items up to added came at a time.
type arrival struct {
	at     time.Time
	source *source
	added  uint64
}

// NewMerger returns a merger that holds lines back for at most hold and at most
// maxBytes of them.
func NewMerger(hold time.Duration, maxBytes int) *Merger {
	return &Merger{hold: hold, max: maxBytes, sources: map[string]*source{}}
}

// Open says that lines of the instance will come, so that others are held back
// to be compared with them.
func (m *Merger) Open(instance string) {
	s := m.source(instance)
	if !s.open {
		s.open = true
		if s.index < 0 {
			m.waiting++
		}
	}
}

// Done says that no more lines of the instance will come.
func (m *Merger) Done(instance string) {
	s := m.source(instance)
	if s.open {
		s.open = false
		if s.index < 0 {
			m.waiting--
		}
	}
	if s.index < 0 {
		delete(m.sources, instance)
	}
}

// Add queues a batch. Lines whose seq is not above the last one queued of that
// instance have been seen and are left out.
func (m *Merger) Add(b *logspb.Batch, now time.Time) {
	s := m.source(b.GetInstanceId())
	before := s.added
	if b.GetGap() != nil {
		key := s.key
		if len(b.GetLines()) > 0 {
			key = b.GetLines()[0].GetTime()
		}
		m.push(s, item{key: key, gap: b.GetGap()})
	}
	for _, l := range b.GetLines() {
		if l.GetSeq() > s.last {
			s.last = l.GetSeq()
			m.push(s, item{key: l.GetTime(), line: l})
		}
	}
	if b.GetEnded() {
		m.push(s, item{key: s.key, ended: true})
	}
	if s.added > before {
		m.arrived = append(m.arrived, arrival{at: now, source: s, added: s.added})
	}
}

// Take returns what may go out now, in order, but not much more than maxBytes of
// it. It returns nothing only when nothing more may go out.
func (m *Merger) Take(now time.Time, maxBytes int) []*logspb.Batch {
	var out []*logspb.Batch
	bytes := 0
	for len(m.heads) > 0 && bytes < maxBytes && (m.waiting == 0 || m.size > m.max || m.due(now)) {
		before := m.size
		out = m.pop(out)
		bytes += before - m.size
	}
	return out
}

// Finish says that nothing will come any more: all that is queued may go out.
func (m *Merger) Finish() {
	m.max = -1
}

// Next returns when the oldest queued line has been held long enough. It
// returns false when nothing is queued.
func (m *Merger) Next() (time.Time, bool) {
	m.forget()
	if len(m.arrived) == 0 {
		return time.Time{}, false
	}
	return m.arrived[0].at.Add(m.hold), true
}

func (m *Merger) due(now time.Time) bool {
	at, ok := m.Next()
	return ok && !now.Before(at)
}

// forget drops the arrivals of which everything has gone out.
func (m *Merger) forget() {
	n := 0
	for n < len(m.arrived) && m.arrived[n].source.released >= m.arrived[n].added {
		n++
	}
	if m.arrived = m.arrived[n:]; len(m.arrived) == 0 {
		m.arrived = nil
	}
}

func (m *Merger) source(instance string) *source {
	s := m.sources[instance]
	if s == nil {
		s = &source{instance: instance, index: -1}
		m.sources[instance] = s
	}
	return s
}

func (m *Merger) push(s *source, it item) {
	s.key = max(s.key, it.key)
	it.key = s.key
	s.queue = append(s.queue, it)
	s.added++
	m.size += it.cost()
	if s.index < 0 {
		heap.Push(&m.heads, s)
		if s.open {
			m.waiting--
		}
	}
}

// pop moves the least item to out.
func (m *Merger) pop(out []*logspb.Batch) []*logspb.Batch {
	s := m.heads[0]
	it := s.queue[s.head]
	s.queue[s.head] = item{}
	s.head++
	s.released++
	m.size -= it.cost()
	if s.head < len(s.queue) {
		s.compact()
		heap.Fix(&m.heads, 0)
	} else {
		s.queue, s.head = s.queue[:0], 0
		heap.Pop(&m.heads)
		if s.open {
			m.waiting++
		}
	}
	var b *logspb.Batch
	if n := len(out); n > 0 && out[n-1].GetInstanceId() == s.instance && it.gap == nil && !out[n-1].GetEnded() {
		b = out[n-1]
	} else {
		b = &logspb.Batch{InstanceId: s.instance, Gap: it.gap}
		out = append(out, b)
	}
	if it.line != nil {
		b.Lines = append(b.Lines, it.line)
	}
	b.Ended = b.Ended || it.ended
	return out
}

// compact moves the queue down when most of it has gone out.
func (s *source) compact() {
	if s.head >= 64 && s.head*2 >= len(s.queue) {
		n := copy(s.queue, s.queue[s.head:])
		clear(s.queue[n:])
		s.queue, s.head = s.queue[:n], 0
	}
}

func (it item) cost() int {
	return len(it.line.GetData()) + lineOverhead
}

// sourceHeap orders sources by their oldest queued item.
type sourceHeap []*source

func (h sourceHeap) Len() int { return len(h) }

func (h sourceHeap) Less(i, j int) bool {
	a, b := h[i].queue[h[i].head].key, h[j].queue[h[j].head].key
	if a != b {
		return a < b
	}
	return h[i].instance < h[j].instance
}

func (h sourceHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *sourceHeap) Push(x any) {
	s := x.(*source)
	s.index = len(*h)
	*h = append(*h, s)
}

func (h *sourceHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	s.index = -1
	return s
}
