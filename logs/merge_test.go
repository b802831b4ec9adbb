package logs

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"waypoint/api/logspb"
)

const hold = 200 * time.Millisecond

var start = time.Unix(1000, 0)

// batch builds lines of an instance: seq:time pairs.
func batch(instance string, seqTime ...int64) *logspb.Batch {
	b := &logspb.Batch{InstanceId: instance}
	for i := 0; i < len(seqTime); i += 2 {
		b.Lines = append(b.Lines, &logspb.Line{Seq: uint64(seqTime[i]), Time: seqTime[i+1]})
	}
	return b
}

// text writes batches as "a1 a2 gap:b3 b4 end:a".
func text(batches []*logspb.Batch) string {
	var out []string
	for _, b := range batches {
		if b.GetGap() != nil {
			out = append(out, fmt.Sprintf("gap:%s%d", b.GetInstanceId(), b.GetGap().GetLines()))
		}
		for _, l := range b.GetLines() {
			out = append(out, fmt.Sprintf("%s%d", b.GetInstanceId(), l.GetSeq()))
		}
		if b.GetEnded() {
			out = append(out, "end:"+b.GetInstanceId())
		}
	}
	return strings.Join(out, " ")
}

func want(t *testing.T, got []*logspb.Batch, order string) {
	t.Helper()
	if text(got) != order {
		t.Errorf("got %q, want %q", text(got), order)
	}
}

func TestMergeOrdersByTimeThenInstanceThenSeq(t *testing.T) {
	m := NewMerger(hold, 1<<20)
	m.Open("a")
	m.Open("b")
	m.Add(batch("b", 1, 10, 2, 20, 3, 20), start)
	want(t, m.Take(start, 1<<20), "")
	m.Add(batch("a", 1, 15, 2, 20, 3, 40), start)
	want(t, m.Take(start, 1<<20), "b1 a1 a2 b2 b3")
	m.Done("b")
	want(t, m.Take(start, 1<<20), "a3")
}

func TestMergeHoldsNoLongerThanAsked(t *testing.T) {
	m := NewMerger(hold, 1<<20)
	m.Open("a")
	m.Open("quiet")
	m.Add(batch("a", 1, 10), start)
	m.Add(batch("a", 2, 11), start.Add(hold/2))
	at, ok := m.Next()
	if !ok || !at.Equal(start.Add(hold)) {
		t.Fatalf("next at %v, %v", at, ok)
	}
	want(t, m.Take(at.Add(-1), 1<<20), "")
	want(t, m.Take(at, 1<<20), "a1")
	want(t, m.Take(start.Add(hold*3/2), 1<<20), "a2")
	if _, ok = m.Next(); ok {
		t.Error("something is still queued")
	}
}

func TestSourceWithClockBehindDoesNotStarveOthers(t *testing.T) {
	m := NewMerger(hold, 1<<20)
	for _, id := range []string{"a", "behind", "quiet"} {
		m.Open(id)
	}
	m.Add(batch("a", 1, 1000), start)
	m.Add(batch("behind", 1, 1), start.Add(hold-1))
	m.Add(batch("behind", 2, 2), start.Add(hold-1))
	want(t, m.Take(start.Add(hold), 1<<20), "behind1 behind2 a1")
}

func TestMergeIsBoundedBySize(t *testing.T) {
	m := NewMerger(hold, 3*lineOverhead)
	m.Open("quiet")
	m.Add(batch("a", 1, 1, 2, 2, 3, 3, 4, 4, 5, 5), start)
	want(t, m.Take(start, 1<<20), "a1 a2")
	m.Finish()
	want(t, m.Take(start, 2*lineOverhead), "a3 a4")
	want(t, m.Take(start, 2*lineOverhead), "a5")
}

func TestMergeDropsLinesSeenBefore(t *testing.T) {
	m := NewMerger(hold, 1<<20)
	m.Add(batch("a", 1, 1, 2, 2), start)
	m.Add(batch("a", 2, 2, 3, 3), start)
	want(t, m.Take(start, 1<<20), "a1 a2 a3")
	m.Add(batch("a", 1, 1, 4, 4), start)
	want(t, m.Take(start, 1<<20), "a4")
}

func TestGapsAndEndsKeepTheirPlace(t *testing.T) {
	m := NewMerger(hold, 1<<20)
	m.Add(batch("a", 1, 1), start)
	b := batch("a", 5, 30)
	b.Gap, b.Ended = &logspb.Gap{Lines: 3}, true
	m.Add(b, start)
	m.Add(batch("b", 1, 20), start)
	want(t, m.Take(start, 1<<20), "a1 b1 gap:a3 a5 end:a")
}

func TestOwnOrderSurvivesAClockThatJumpsBack(t *testing.T) {
	m := NewMerger(hold, 1<<20)
	m.Add(batch("a", 1, 100, 2, 5, 3, 200), start)
	m.Add(batch("b", 1, 50, 2, 150), start)
	want(t, m.Take(start, 1<<20), "b1 a1 a2 b2 a3")
}

func BenchmarkMergeTwoSources(b *testing.B) {
	m := NewMerger(hold, 1<<20)
	m.Open("a")
	m.Open("b")
	for i := 0; b.Loop(); i++ {
		m.Add(batch("a", int64(2*i+1), int64(2*i), int64(2*i+2), int64(2*i)), start)
		m.Add(batch("b", int64(2*i+1), int64(2*i), int64(2*i+2), int64(2*i)), start)
		m.Take(start, 1<<20)
	}
}

func BenchmarkRingAppendAndRead(b *testing.B) {
	r := NewRing(1 << 20)
	rd := r.Reader(0)
	data := make([]byte, 100)
	for i := 0; b.Loop(); i++ {
		r.Append(&logspb.Line{Seq: uint64(i) + 1, Data: data})
		if i%100 == 0 {
			_, _, _ = rd.TryNext(1000, 0)
		}
	}
}
