package logs

import (
	"context"
	"io"
	"slices"
	"time"

	"waypoint/api/logspb"
)

// Reader reads a ring from one place on. It is for one goroutine; a ring may
// have many readers.
type Reader struct {
	ring  *Ring
	seq   uint64 // last seq delivered or reported in a gap
	bytes uint64 // data bytes of the source up to seq
	known bool   // whether bytes is
}

// Reader returns a reader whose next wanted line is after+1. What is missing
// from there on, it reports as a gap.
func (r *Ring) Reader(after uint64) *Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	rd := &Reader{ring: r, seq: after}
	switch i := r.find(after); {
	case after == r.last:
		rd.bytes, rd.known = r.total, true
	case after == r.base:
		rd.bytes, rd.known = 0, true
	case i < len(r.buf) && r.buf[i].line.GetSeq() == after+1:
		rd.bytes, rd.known = r.buf[i].before, true
	}
	return rd
}

// Tail returns a reader that begins with the last n kept lines, 0 for all of
// them. What was lost before those is no gap.
func (r *Ring) Tail(n int) *Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.head
	if kept := len(r.buf) - r.head; n > 0 && n < kept {
		i = len(r.buf) - n
	}
	if i == len(r.buf) {
		return &Reader{ring: r, seq: r.last, bytes: r.total, known: true}
	}
	e := r.buf[i]
	return &Reader{ring: r, seq: e.line.GetSeq() - 1, bytes: e.before, known: true}
}

// Seq returns the seq of the last line that was delivered or reported lost.
func (rd *Reader) Seq() uint64 {
	return rd.seq
}

// Next waits for lines and returns at most maxLines of them with at most
// maxBytes of data, but at least one; 0 stands for no bound. A gap says what was
// lost before the first of the lines and may come without any. After the last
// line of a closed ring it returns io.EOF; it returns the context's cause when
// that ends first.
func (rd *Reader) Next(ctx context.Context, maxLines, maxBytes int) ([]*logspb.Line, *logspb.Gap, error) {
	for {
		lines, gap, wake, err := rd.take(maxLines, maxBytes)
		if wake == nil {
			return lines, gap, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// TryNext is Next without waiting: it returns nothing at all when there is
// nothing yet.
func (rd *Reader) TryNext(maxLines, maxBytes int) ([]*logspb.Line, *logspb.Gap, error) {
	lines, gap, _, err := rd.take(maxLines, maxBytes)
	return lines, gap, err
}

// Gather waits until so many lines or so many bytes of data wait to be read. It
// returns earlier when the ring is closed, when the time has come, and when ctx
// ends.
func (rd *Reader) Gather(ctx context.Context, at <-chan time.Time, lines, bytes int) {
	r := rd.ring
	p := &plenty{seq: rd.seq + uint64(lines), wake: make(chan struct{})}
	r.mu.Lock()
	if p.total = rd.bytes + uint64(bytes); !rd.known {
		p.total = r.total + uint64(bytes)
	}
	if !r.enough(p) {
		r.plenty = append(r.plenty, p)
	}
	r.mu.Unlock()
	select {
	case <-p.wake:
		return
	case <-at:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plenty = slices.DeleteFunc(r.plenty, func(other *plenty) bool { return other == p })
}

// take returns what is there, or the channel to wait on if nothing is.
func (rd *Reader) take(maxLines, maxBytes int) ([]*logspb.Line, *logspb.Gap, <-chan struct{}, error) {
	r := rd.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.find(rd.seq)
	if i == len(r.buf) {
		switch {
		case r.last > rd.seq: // the newest line did not fit at all
			return nil, rd.skip(r.last, r.total), nil, nil
		case r.closed:
			return nil, nil, nil, io.EOF
		}
		return nil, nil, r.changed(), nil
	}
	var gap *logspb.Gap
	if e := r.buf[i]; e.line.GetSeq() > rd.seq+1 {
		gap = rd.skip(e.line.GetSeq()-1, e.before)
	}
	n := count(r.buf[i:], maxLines, maxBytes)
	lines := make([]*logspb.Line, n)
	for k, e := range r.buf[i : i+n] {
		lines[k] = e.line
	}
	end := r.buf[i+n-1]
	rd.seq, rd.known = end.line.GetSeq(), true
	rd.bytes = end.before + uint64(len(end.line.GetData()))
	return lines, gap, nil, nil
}

// skip moves to seq, before which the source had so many bytes, and returns
// what that leaves out.
func (rd *Reader) skip(seq, bytes uint64) *logspb.Gap {
	gap := &logspb.Gap{Lines: seq - rd.seq, Reason: ReasonOverwritten}
	if rd.known && bytes > rd.bytes {
		gap.Bytes = bytes - rd.bytes
	}
	rd.seq, rd.bytes, rd.known = seq, bytes, true
	return gap
}

// count returns how many of the entries make up a read: consecutive lines
// within the bounds, at least one.
func count(entries []entry, maxLines, maxBytes int) int {
	n, bytes := 0, 0
	for _, e := range entries {
		bytes += len(e.line.GetData())
		full := maxLines > 0 && n >= maxLines || maxBytes > 0 && bytes > maxBytes
		if n > 0 && (full || e.line.GetSeq() != entries[n-1].line.GetSeq()+1) {
			break
		}
		n++
	}
	return n
}
