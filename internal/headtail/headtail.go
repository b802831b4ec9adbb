// Package headtail keeps the beginning and the end of a stream of bytes: of
// more than a limit, the first and the last half of it. Offsets count from the
// stream's first byte, so what was left out can be seen.
//
// It must not know what the bytes are.
package headtail

import "sync"

// Buffer is a bounded copy of a stream. It is safe for concurrent use.
type Buffer struct {
	mu      sync.Mutex
	half    int
	head    []byte // bytes from 0 on, at most half
	tail    []byte // bytes up to total, at most 2*half, of which the last half count
	total   uint64 // offset after the newest byte
	sealed  bool   // head takes no more
	closed  bool
	changed chan struct{}
}

// New returns a buffer that keeps at most limit bytes.
func New(limit int) *Buffer {
	return &Buffer{half: limit / 2, changed: make(chan struct{})}
}

// Write appends p. It never fails and never blocks on a reader. Writes after
// Close are counted nowhere.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.append(p)
	return len(p), nil
}

// WriteAt takes the part of p, whose first byte is at offset, that is new.
// Bytes missing before it count as left out.
func (b *Buffer) WriteAt(p []byte, offset uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	end := offset + uint64(len(p))
	switch {
	case end <= b.total:
		return
	case offset > b.total:
		b.sealed, b.tail, b.total = true, nil, offset
	default:
		p = p[b.total-offset:]
	}
	b.append(p)
}

func (b *Buffer) append(p []byte) {
	if b.closed || len(p) == 0 {
		return
	}
	b.total += uint64(len(p))
	if !b.sealed {
		n := min(len(p), b.half-len(b.head))
		b.head, p = append(b.head, p[:n]...), p[n:]
		b.sealed = len(b.head) == b.half
	}
	if len(p) >= b.half {
		b.tail, p = b.tail[:0], p[len(p)-b.half:]
	}
	b.tail = append(b.tail, p...)
	if len(b.tail) > 2*b.half {
		b.tail = append(b.tail[:0], b.tail[len(b.tail)-b.half:]...)
	}
	b.wake()
}

func (b *Buffer) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Close says that nothing more comes.
func (b *Buffer) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.wake()
	}
}

// Total is the offset after the newest byte.
func (b *Buffer) Total() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// ReadFrom returns a copy of at most limit bytes that are kept at or after
// offset, and the offset of the first of them. With none it returns whether
// the buffer is closed, and a channel that is closed when that changes.
func (b *Buffer) ReadFrom(offset uint64, limit int) (data []byte, at uint64, closed bool, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := b.head
	at = offset
	if offset >= uint64(len(b.head)) {
		from = b.keptTail()
		start := b.total - uint64(len(from))
		at = max(offset, start)
		from = from[min(at-start, uint64(len(from))):]
	} else {
		from = from[offset:]
	}
	data = append(data, from[:min(len(from), limit)]...)
	return data, at, b.closed, b.changed
}

func (b *Buffer) keptTail() []byte {
	return b.tail[max(0, len(b.tail)-b.half):]
}

// Bytes returns what is kept of the stream within limit bytes, which may be
// less than the buffer's own: all of it, or its first and its last half, of
// equal length; truncated tells which.
func (b *Buffer) Bytes(limit int) (data []byte, truncated bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	tail := b.keptTail()
	if b.total == uint64(len(b.head)+len(tail)) && b.total <= uint64(limit) {
		return append(append(data, b.head...), tail...), false
	}
	all := append(append(data, b.head...), tail...)
	half := min(limit/2, len(all)/2)
	return append(all[:half:half], all[len(all)-half:]...), true
}

// Part is a run of bytes of a stream.
type Part struct {
	Offset uint64
	Data   []byte
}

// Split undoes Bytes for a stream of total bytes.
func Split(data []byte, total uint64, truncated bool) []Part {
	if !truncated {
		return []Part{{Data: data}}
	}
	half := len(data) / 2
	tail := data[half:]
	return []Part{{Data: data[:half]}, {Offset: total - uint64(len(tail)), Data: tail}}
}
