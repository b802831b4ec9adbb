package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"waypoint/api/logspb"
	"waypoint/internal/wait"
)

func line(seq uint64, data string) *logspb.Line {
	return &logspb.Line{Seq: seq, Time: int64(seq), Source: logspb.Source_SOURCE_STDOUT, Data: []byte(data)}
}

func fill(r *Ring, from, to uint64) {
	for seq := from; seq <= to; seq++ {
		r.Append(line(seq, fmt.Sprintf("%04d", seq)))
	}
}

// ringOf returns a ring that holds n lines of four bytes.
func ringOf(n int) *Ring {
	return NewRing(n * (lineOverhead + 4))
}

func seqs(lines []*logspb.Line) []uint64 {
	var out []uint64
	for _, l := range lines {
		out = append(out, l.GetSeq())
	}
	return out
}

func TestReaderReportsWhatTheRingNoLongerHolds(t *testing.T) {
	for _, c := range []struct {
		name         string
		from, to     uint64
		read         func(r *Ring) *Reader
		first        uint64
		lines, bytes uint64
	}{
		{"all kept", 1, 5, func(r *Ring) *Reader { return r.Reader(0) }, 1, 0, 0},
		{"oldest dropped", 1, 25, func(r *Ring) *Reader { return r.Reader(0) }, 16, 15, 60},
		{"resume inside", 1, 25, func(r *Ring) *Reader { return r.Reader(20) }, 21, 0, 0},
		{"resume before what is kept", 1, 25, func(r *Ring) *Reader { return r.Reader(9) }, 16, 6, 0},
		{"source began elsewhere", 11, 15, func(r *Ring) *Reader { return r.Reader(5) }, 11, 5, 0},
		{"tail", 1, 25, func(r *Ring) *Reader { return r.Tail(3) }, 23, 0, 0},
		{"tail longer than kept", 1, 25, func(r *Ring) *Reader { return r.Tail(100) }, 16, 0, 0},
		{"whole tail", 1, 25, func(r *Ring) *Reader { return r.Tail(0) }, 16, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ringOf(10)
			fill(r, c.from, c.to)
			lines, gap, err := c.read(r).TryNext(0, 0)
			if err != nil || len(lines) == 0 {
				t.Fatalf("TryNext: %v, %v", seqs(lines), err)
			}
			if lines[0].GetSeq() != c.first || lines[len(lines)-1].GetSeq() != c.to {
				t.Errorf("lines %v, want %d to %d", seqs(lines), c.first, c.to)
			}
			if gap.GetLines() != c.lines || gap.GetBytes() != c.bytes {
				t.Errorf("gap %v, want %d lines and %d bytes", gap, c.lines, c.bytes)
			}
		})
	}
}

func TestSlowReaderGetsOneGapWithItsSize(t *testing.T) {
	r := ringOf(10)
	fill(r, 1, 5)
	rd := r.Reader(0)
	if lines, _, _ := rd.TryNext(2, 0); len(lines) != 2 {
		t.Fatalf("got %v", seqs(lines))
	}
	fill(r, 6, 40)
	lines, gap, err := rd.TryNext(0, 0)
	if err != nil || gap.GetLines() != 28 || gap.GetBytes() != 28*4 || lines[0].GetSeq() != 31 || len(lines) != 10 {
		t.Fatalf("lines %v gap %v err %v", seqs(lines), gap, err)
	}
}

func TestHolesOfTheSourceBecomeGapsWithTheirBytes(t *testing.T) {
	r := ringOf(10)
	fill(r, 1, 2)
	r.Lost(77)
	fill(r, 6, 7)
	rd := r.Reader(0)
	lines, gap, _ := rd.TryNext(0, 0)
	if gap != nil || len(lines) != 2 {
		t.Fatalf("first read: %v %v", seqs(lines), gap)
	}
	lines, gap, _ = rd.TryNext(0, 0)
	if gap.GetLines() != 3 || gap.GetBytes() != 77 || len(lines) != 2 || lines[0].GetSeq() != 6 {
		t.Fatalf("second read: %v %v", seqs(lines), gap)
	}
}

func TestLinesAlreadySeenAreIgnored(t *testing.T) {
	r := ringOf(10)
	fill(r, 1, 5)
	fill(r, 3, 6)
	lines, gap, _ := r.Reader(0).TryNext(0, 0)
	if len(lines) != 6 || gap != nil {
		t.Fatalf("got %v %v", seqs(lines), gap)
	}
	if first, last := r.Bounds(); first != 1 || last != 6 {
		t.Fatalf("bounds %d, %d", first, last)
	}
}

func TestLineLargerThanTheRingIsLost(t *testing.T) {
	r := ringOf(2)
	fill(r, 1, 1)
	rd := r.Reader(1)
	r.Append(line(2, string(make([]byte, 1000))))
	lines, gap, err := rd.TryNext(0, 0)
	if lines != nil || err != nil || gap.GetLines() != 1 || gap.GetBytes() != 1000 {
		t.Fatalf("got %v %v %v", seqs(lines), gap, err)
	}
	if first, last := r.Bounds(); first != 0 || last != 0 || r.Last() != 2 || r.Size() != 0 {
		t.Fatalf("bounds %d, %d, last %d", first, last, r.Last())
	}
}

func TestCloseLetsReadersFinish(t *testing.T) {
	r := ringOf(10)
	fill(r, 1, 3)
	rd := r.Reader(0)
	r.Close()
	fill(r, 4, 5)
	lines, _, err := rd.Next(t.Context(), 0, 0)
	if len(lines) != 3 || err != nil {
		t.Fatalf("got %v, %v", seqs(lines), err)
	}
	if _, _, err = rd.Next(t.Context(), 0, 0); !errors.Is(err, io.EOF) {
		t.Fatalf("err %v, want EOF", err)
	}
}

func TestNextReturnsTheContextsCause(t *testing.T) {
	cause := errors.New("reader left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, _, err := ringOf(1).Reader(0).Next(ctx, 0, 0); !errors.Is(err, cause) {
		t.Fatalf("err %v", err)
	}
}

func TestReadsAreBounded(t *testing.T) {
	r := ringOf(100)
	fill(r, 1, 100)
	rd := r.Reader(0)
	for _, c := range []struct{ maxLines, maxBytes, want int }{{7, 0, 7}, {0, 20, 5}, {10, 9, 2}, {0, 1, 1}} {
		lines, _, _ := rd.TryNext(c.maxLines, c.maxBytes)
		if len(lines) != c.want {
			t.Errorf("TryNext(%d, %d) gave %d lines, want %d", c.maxLines, c.maxBytes, len(lines), c.want)
		}
	}
}

func TestSetLimitDropsTheOldest(t *testing.T) {
	r := ringOf(100)
	fill(r, 1, 100)
	r.SetLimit(10 * (lineOverhead + 4))
	if first, last := r.Bounds(); first != 91 || last != 100 {
		t.Fatalf("bounds %d, %d", first, last)
	}
}

func TestEveryReaderSeesEveryLineOrAGapForIt(t *testing.T) {
	const n = 20000
	r := ringOf(64)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			rd := r.Reader(0)
			var seen, lost uint64
			for {
				lines, gap, err := rd.Next(t.Context(), 16, 0)
				if err != nil {
					break
				}
				seen += uint64(len(lines))
				lost += gap.GetLines()
				if rd.Seq() != seen+lost {
					t.Errorf("at seq %d: %d seen and %d lost", rd.Seq(), seen, lost)
					return
				}
			}
			if seen+lost != n {
				t.Errorf("%d seen and %d lost of %d", seen, lost, n)
			}
		})
	}
	fill(r, 1, n)
	r.Close()
	wg.Wait()
	if len(r.buf) > 256 {
		t.Errorf("ring of 64 lines holds %d slots", len(r.buf))
	}
}

func TestGatherWaitsForManyLinesOrBytes(t *testing.T) {
	for name, enough := range map[string]func(*Ring){
		"lines":     func(r *Ring) { fill(r, 1, 10) },
		"bytes":     func(r *Ring) { r.Append(line(1, strings.Repeat("x", 1000))) },
		"the end":   func(r *Ring) { r.Close() },
		"the limit": nil,
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRing(1 << 20)
			rd := r.Reader(0)
			at := make(chan time.Time)
			returned := make(chan struct{})
			go func() {
				defer close(returned)
				rd.Gather(t.Context(), at, 10, 1000)
			}()
			wait.For(t, 10*time.Second, "the reader waits", func() bool {
				r.mu.Lock()
				defer r.mu.Unlock()
				return len(r.plenty) == 1
			})
			if enough == nil {
				close(at)
			} else {
				enough(r)
			}
			<-returned
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.plenty) != 0 {
				t.Error("the ring still knows a reader that waits")
			}
		})
	}
}

func TestGatherDoesNotWaitForWhatIsThere(t *testing.T) {
	r := NewRing(1 << 20)
	rd := r.Reader(0)
	fill(r, 1, 9)
	limit := make(chan time.Time, 1)
	limit <- time.Time{}
	rd.Gather(t.Context(), limit, 10, 1000)
	if len(limit) != 0 {
		t.Error("9 lines were enough, want 10")
	}
	fill(r, 10, 10)
	rd.Gather(t.Context(), nil, 10, 1000) // does not return if it waits
	lines, _, err := rd.TryNext(0, 0)
	if len(lines) != 10 || err != nil {
		t.Errorf("%d lines, %v", len(lines), err)
	}
	fill(r, 11, 19)
	limit <- time.Time{}
	rd.Gather(t.Context(), limit, 10, 1000)
	if len(limit) != 0 {
		t.Error("lines that were read are counted again")
	}
}
