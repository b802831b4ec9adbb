package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"waypoint/test/harness"
)

const (
	sampleEvery = 2 * time.Second
	minSamples  = 5
	windowShare = 4 // a window is this part of the run
	warmUpShare = 4 // before the first window
)

// bounds are how much more a process may use in the end than after its warm-up.
type bounds struct {
	resident int64 // bytes
	files    int
	threads  int
}

// entrypointBounds are tight: an entrypoint runs beside each application.
func entrypointBounds() bounds { return bounds{resident: 2 << 20, files: 6, threads: 4} }

// nodeBounds are generous. What a node may keep grows for minutes: up to 16 MiB
// of lines of each of the two chatty instances, of which the garbage collector
// lets about twice stand, and everything that passes through a node twice,
// while its neighbour is away.
func nodeBounds() bounds { return bounds{resident: 128 << 20, files: 64, threads: 32} }

// usage is what one process used over time.
type usage struct {
	name    string
	may     bounds
	samples []harness.Usage
}

// life is what a node used, from each start to the next end. The life with the
// most samples is kept. One goroutine samples, another one restarts the node.
type life struct {
	name string

	mu      sync.Mutex
	pid     int // 0 while the node is away
	current []harness.Usage
	longest []harness.Usage
}

// begin says that the node now runs as the process, or, with 0, that it goes.
func (l *life) begin(pid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pid, l.current = pid, nil
}

func (l *life) sample() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pid == 0 {
		return
	}
	now, err := harness.UsageOf(l.pid)
	if err != nil {
		return
	}
	l.current = append(l.current, now)
	if len(l.current) > len(l.longest) {
		l.longest = l.current
	}
}

// longestLife is the usage of the node that ran longest without a restart.
func longestLife(lives []*life) *usage {
	u := &usage{name: "node", may: nodeBounds()}
	for _, l := range lives {
		if len(l.longest) > len(u.samples) {
			u.name, u.samples = l.name, l.longest
		}
	}
	u.name += fmt.Sprintf(", in the %s from one restart to another", time.Duration(len(u.samples))*sampleEvery)
	return u
}

// sample adds what the process uses now.
func (u *usage) sample(pid int) {
	if now, err := harness.UsageOf(pid); err == nil {
		u.samples = append(u.samples, now)
	}
}

// growth compares the time after the warm-up with the end of the run.
func (u *usage) growth() (before, after harness.Usage, ok bool) {
	n := len(u.samples)
	first, window := n/warmUpShare, n/windowShare
	if window < minSamples {
		return before, after, false
	}
	return medianUsage(u.samples[first : first+window]), medianUsage(u.samples[n-window:]), true
}

func medianUsage(samples []harness.Usage) harness.Usage {
	middle := func(get func(harness.Usage) int64) int64 {
		var all []int64
		for _, s := range samples {
			all = append(all, get(s))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return harness.Usage{
		Resident: middle(func(u harness.Usage) int64 { return u.Resident }),
		Threads:  int(middle(func(u harness.Usage) int64 { return int64(u.Threads) })),
		Files:    int(middle(func(u harness.Usage) int64 { return int64(u.Files) })),
	}
}

// judge reports growth, and describes it.
func (u *usage) judge(violated func(string, ...any)) string {
	before, after, ok := u.growth()
	if !ok {
		violated("%s: only %d samples of its memory were taken", u.name, len(u.samples))
		return ""
	}
	if grown := after.Resident - before.Resident; grown > u.may.resident {
		violated("%s: resident memory grew by %.1f MiB, to %.1f", u.name, mib(grown), mib(after.Resident))
	}
	if after.Files > before.Files+u.may.files {
		violated("%s: open descriptors grew from %d to %d", u.name, before.Files, after.Files)
	}
	if after.Threads > before.Threads+u.may.threads {
		violated("%s: threads grew from %d to %d", u.name, before.Threads, after.Threads)
	}
	return fmt.Sprintf("%s: %.1f MiB after the warm-up, %.1f at the end; descriptors %d, %d; threads %d, %d", u.name,
		mib(before.Resident), mib(after.Resident), before.Files, after.Files, before.Threads, after.Threads)
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
