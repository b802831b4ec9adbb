// Package collector sets how much room the garbage collector of a server leaves
// beyond what is in use: much while the process works hard, when each collection
// costs time, and little while it idles, when memory is all that it costs. While
// what is in use grows, as when thousands of clients come at once, it leaves less:
// what stays is then mixed with what goes, and the room between cannot be given
// back afterwards.
//
// There is one pace for a process, which its main program sets. The package must
// not know what the process does.
package collector

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	look      = time.Second
	hardRate  = 16 << 20 // bytes allocated a second by a process that works hard
	calmLooks = 5        // in a row, until it is taken to idle

	growStep   = 4 << 20 // bytes beyond the most so far that count as growth
	growStepOf = 16      // and at least that part of it
	growLooks  = 3       // without growth, until it is taken to have ended

	hardRoom = 64 << 20 // bytes, at least, while it works hard
	growRoom = 16 << 20 // bytes, at least, while it grows
	calmRoom = 4 << 20  // bytes, at least, while it idles
	hardPart = 100      // percent of what is in use
	growPart = 25
	calmPart = 25

	calmSpare   = 8 << 20 // bytes that are worth giving back when calm sets in
	calmSpareOf = 8       // and at least that part of what is in use

	// whileStarting is for a process that fills its memory from a snapshot: what
	// it has read so far is all in use.
	whileStarting = 400
	most          = 1000
)

// Pace is the pace of this process's collector.
type Pace struct {
	percent int
	before  uint64 // bytes allocated so far at the last look
	calm    int    // looks in a row without hard work
	top     uint64 // most bytes in use since it idled
	same    int    // looks in a row without growth
	set     func(percent int)
	release func() // gives what is not in use back to the system
}

// Starting sets the pace for a process that starts. If whoever started it has
// chosen a pace (GOGC), that one stays.
func Starting() *Pace {
	p := &Pace{same: growLooks, set: func(percent int) { debug.SetGCPercent(percent) }, release: debug.FreeOSMemory}
	if chosen() {
		p.set, p.release = func(int) {}, func() {}
	}
	p.change(whileStarting)
	return p
}

// chosen tells whether the pace is another one than Go's own.
func chosen() bool {
	pace := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(pace)
	return pace[0].Value.Uint64() != 100
}

// Run adapts the pace from when started is closed until ctx ends.
func (p *Pace) Run(ctx context.Context, started <-chan struct{}) error {
	select {
	case <-started:
	case <-ctx.Done():
		return ctx.Err()
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		p.adapt(measure())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// measure returns the bytes that the last collection found in use, those
// allocated so far, and those that the process has beyond what was in use.
func measure() (use, allocated, spare uint64) {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	live, has := samples[0].Value.Uint64(), uint64(0)
	for _, s := range samples[3:] {
		has += s.Value.Uint64()
	}
	return live + samples[1].Value.Uint64(), samples[2].Value.Uint64(), has - min(has, live)
}

// adapt sets the pace by what has happened since the last look.
func (p *Pace) adapt(use, allocated, spare uint64) {
	rate := allocated - p.before
	if p.before == 0 {
		rate = 0 // what it took to start
	}
	p.before = allocated
	if p.same++; p.top != 0 && use > p.top+max(growStep, p.top/growStepOf) {
		p.same = 0
	}
	p.top = max(p.top, use)
	if p.calm++; rate >= hardRate {
		p.calm = 0
	}
	if p.calm == calmLooks && spare >= calmSpare && spare >= use/calmSpareOf {
		p.release()
	}
	room, part := uint64(hardRoom), uint64(hardPart)
	switch {
	case p.calm >= calmLooks:
		room, part = calmRoom, calmPart
		p.top = use
	case p.same < growLooks:
		room, part = growRoom, growPart
	}
	percent := int(min(max(part, room*100/max(use, 1)), most))
	// Each change stops the world for a moment.
	if d := percent - p.percent; d > p.percent/8 || -d > p.percent/8 {
		p.change(percent)
	}
}

func (p *Pace) change(percent int) {
	p.percent = percent
	p.set(percent)
}
