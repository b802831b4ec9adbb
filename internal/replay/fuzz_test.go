package replay_test

import (
	"bytes"
	"testing"

	"waypoint/internal/replay"
)

// Whatever pieces arrive in whatever order, the buffer holds a piece of the one
// stream that they are of, as a plain slice would.
func FuzzBuffer(f *testing.F) {
	f.Add([]byte{0, 5, 0, 1, 3, 2, 2, 4, 0, 3, 0, 0})
	f.Add(bytes.Repeat([]byte{0, 255, 255, 1, 200, 9, 2, 90, 1}, 20))
	stream := make([]byte, 1<<20)
	for i := range stream {
		stream[i] = byte(i * 7 >> 3)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var b replay.Buffer
		start, end := 0, 0
		for ; len(data) >= 3; data = data[3:] {
			a, c := int(data[1]), int(data[2])
			switch data[0] % 4 {
			case 0: // a piece that follows
				n := min(a*c, len(stream)-end)
				b.Write(stream[end : end+n])
				end += n
			case 1: // a piece from somewhere near the end
				from := max(end-a+16, 0)
				to := min(from+c, len(stream))
				if from > to {
					continue
				}
				if got, want := b.Accept(uint64(from), stream[from:to]), from <= end; got != want {
					t.Fatalf("Accept(%d) at %d is %v", from, end, got)
				}
				if from <= end {
					end = max(end, to)
				}
			case 2:
				to := start + a*64 + c
				if got, want := b.Discard(uint64(to)), to <= end; got != want {
					t.Fatalf("Discard(%d) at %d is %v", to, end, got)
				}
				if to <= end {
					start = max(start, to)
				}
			case 3:
				at := start + a*c
				if b.Holds(uint64(at)) != (at <= end) {
					t.Fatalf("Holds(%d) of %d to %d is wrong", at, start, end)
				}
			}
			check(t, &b, stream, start, end)
		}
	})
}

func check(t *testing.T, b *replay.Buffer, stream []byte, start, end int) {
	t.Helper()
	if b.Start() != uint64(start) || b.End() != uint64(end) || b.Len() != end-start {
		t.Fatalf("it holds %d to %d (%d), want %d to %d", b.Start(), b.End(), b.Len(), start, end)
	}
	for at := start; at < end; {
		part := b.At(uint64(at))
		if len(part) == 0 || len(part) > replay.BlockSize || !bytes.Equal(part, stream[at:at+len(part)]) {
			t.Fatalf("%d bytes at %d of %d to %d are wrong", len(part), at, start, end)
		}
		at += len(part)
	}
}
