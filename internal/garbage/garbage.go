// Package garbage lets a process with a small heap collect less often. Go's
// collector starts when the heap has grown by its own size; in a server whose
// state is small that is many times a second under load, and each time it walks
// all of it. It knows nothing of what is on the heap.
package garbage

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

const (
	usual = 100 // percent, as Go starts with
	most  = 400
	// worthwhile is the least change, in percent, that the collector is told of,
	// because that stops everything for a moment.
	worthwhile = 10
)

// Allow lets the heap grow by spare bytes, or by its own size if that is more,
// and at most to five times its size, before it is collected. It holds until
// the returned function is called. Where the environment sets GOGC it does
// nothing. The heap is looked at after each collection.
func Allow(spare uint64) (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	t := &tuner{spare: spare, percent: usual}
	t.watch()
	return func() { t.stopped.Store(true) }
}

type tuner struct {
	spare   uint64
	percent int // touched by one finalizer after the other
	stopped atomic.Bool
}

// watch has the heap looked at after the next collection. A finalizer needs no
// timer in an idle process, and comes when there is something new to know.
func (t *tuner) watch() {
	type mark struct{ _ [16]byte }
	runtime.SetFinalizer(&mark{}, func(*mark) {
		if t.stopped.Load() {
			debug.SetGCPercent(usual)
			return
		}
		t.adjust(live())
		t.watch()
	})
}

func (t *tuner) adjust(live uint64) {
	want := percent(live, t.spare)
	if want-t.percent < worthwhile && t.percent-want < worthwhile && want != usual {
		return
	}
	if want != t.percent {
		t.percent = want
		debug.SetGCPercent(want)
	}
}

// percent is by how much a heap may grow.
func percent(live, spare uint64) int {
	return int(min(max(spare*100/max(live, 1), usual), most))
}

// live is the size of the heap after the newest collection, in bytes.
func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
