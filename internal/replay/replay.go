// Package replay keeps the part of a byte stream that may have to be sent once
// more, or that has come and is not used yet, addressed by offsets in the
// stream. It knows nothing of what the bytes are or how they travel.
package replay

// BlockSize is the most that At returns at a time.
const BlockSize = 31 << 10

// Buffer holds the bytes of a stream from Start to End. It is empty at first,
// takes memory only for what it holds, and is not safe for several goroutines;
// but what At has returned may be read while others write to the buffer.
type Buffer struct {
	blocks [][]byte // none is empty
	start  uint64   // offset of the first byte of blocks[0]
	skip   int      // bytes of blocks[0] that are discarded
	end    uint64
}

// Start is the offset of the first byte that is held.
func (b *Buffer) Start() uint64 { return b.start + uint64(b.skip) }

// End is the offset after the last byte that was written.
func (b *Buffer) End() uint64 { return b.end }

// Len is how many bytes are held.
func (b *Buffer) Len() int { return int(b.end - b.Start()) }

// Write adds data at the end, of which it keeps a copy.
func (b *Buffer) Write(data []byte) {
	b.end += uint64(len(data))
	for len(data) > 0 {
		room := 0
		if n := len(b.blocks); n > 0 {
			room = BlockSize - len(b.blocks[n-1])
		}
		if room == 0 {
			b.blocks = append(b.blocks, nil)
			room = BlockSize
		}
		part := data[:min(room, len(data))]
		last := len(b.blocks) - 1
		b.blocks[last] = append(b.blocks[last], part...)
		data = data[len(part):]
	}
}

// Accept adds the part of data, whose first byte has this offset, that is not
// there yet. It returns false and does nothing if bytes are missing before it.
func (b *Buffer) Accept(offset uint64, data []byte) bool {
	if offset > b.end {
		return false
	}
	if known := b.end - offset; known < uint64(len(data)) {
		b.Write(data[known:])
	}
	return true
}

// Holds tells whether reading can go on from the offset.
func (b *Buffer) Holds(offset uint64) bool { return b.Start() <= offset && offset <= b.end }

// At returns bytes from the offset on, at most BlockSize of them, none at the
// end. The offset must be held. They stay as they are.
func (b *Buffer) At(offset uint64) []byte {
	at := offset - b.start
	for _, block := range b.blocks {
		if at < uint64(len(block)) {
			return block[at:len(block):len(block)]
		}
		at -= uint64(len(block))
	}
	return nil
}

// Discard forgets what comes before the offset. It returns false and does
// nothing if that has never been written.
func (b *Buffer) Discard(to uint64) bool {
	if to > b.end {
		return false
	}
	if to <= b.Start() {
		return true
	}
	b.skip = int(to - b.start)
	for len(b.blocks) > 0 && b.skip >= len(b.blocks[0]) {
		b.start += uint64(len(b.blocks[0]))
		b.skip -= len(b.blocks[0])
		b.blocks[0] = nil
		b.blocks = b.blocks[1:]
	}
	if len(b.blocks) == 0 {
		b.blocks = nil
	}
	return true
}
