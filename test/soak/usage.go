package main

import (
	"fmt"
	"slices"
	"time"

	"waypoint/test/harness"
)

const (
	sampleEvery = 2 * time.Second
	mayGrow     = 2 << 20 // bytes resident
	mayOpen     = 6       // more descriptors
	mayRun      = 4       // more threads
	minSamples  = 5
	windowShare = 4 // a window is this part of the run
	warmUpShare = 4 // before the first window
)

// usage is what one entrypoint used over time.
type usage struct {
	name    string
	samples []harness.Usage
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
	if grown := after.Resident - before.Resident; grown > mayGrow {
		violated("%s: resident memory grew by %.1f MiB, to %.1f", u.name, mib(grown), mib(after.Resident))
	}
	if after.Files > before.Files+mayOpen {
		violated("%s: open descriptors grew from %d to %d", u.name, before.Files, after.Files)
	}
	if after.Threads > before.Threads+mayRun {
		violated("%s: threads grew from %d to %d", u.name, before.Threads, after.Threads)
	}
	return fmt.Sprintf("%s: %.1f MiB after the warm-up, %.1f at the end; descriptors %d, %d; threads %d, %d", u.name,
		mib(before.Resident), mib(after.Resident), before.Files, after.Files, before.Threads, after.Threads)
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
