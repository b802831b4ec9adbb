package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
)

// row is one line of the table: our figure, and if there is one the peer's,
// taken in the same run.
type row struct {
	name    string
	unit    string
	samples []float64 // ours, one a round
	peer    string    // name of the peer
	against []float64 // its figures
	bar     bar
}

// bar is what a row must hold; the zero bar holds anything.
type bar struct {
	kind  barKind
	limit float64
}

type barKind int

const (
	noBar         barKind = iota
	atMost                // our median is at most the limit
	atLeast               // our median is at least the limit
	neverAbove            // no sample of ours is above the limit
	ratioAtLeast          // our median is at least so many times the peer's; their rounds alternate
	verdictHeld   = "ok"
	verdictMissed = "MISSED"
)

// median returns the middle sample, NaN-free: 0 without samples.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[len(sorted)/2]
}

// ratio is ours to the peer's, 0 without a peer.
func (r row) ratio() float64 {
	if peer := median(r.against); peer != 0 {
		return median(r.samples) / peer
	}
	return 0
}

// verdict says whether the bar is held, or nothing without a bar.
func (r row) verdict() string {
	held := len(r.samples) > 0
	switch r.bar.kind {
	case noBar:
		return ""
	case atMost:
		held = held && median(r.samples) <= r.bar.limit
	case atLeast:
		held = held && median(r.samples) >= r.bar.limit
	case neverAbove:
		held = held && slices.Max(r.samples) <= r.bar.limit
	case ratioAtLeast:
		held = held && r.ratio() >= r.bar.limit
	}
	if held {
		return verdictHeld
	}
	return verdictMissed
}

func (b bar) String() string {
	limit := number(b.limit)
	switch b.kind {
	case atMost:
		return "<= " + limit
	case atLeast:
		return ">= " + limit
	case neverAbove:
		return "each <= " + limit
	case ratioAtLeast:
		return ">= " + limit + "x"
	}
	return ""
}

// printTable writes the rows, and returns how many bars were missed.
func printTable(to io.Writer, rows []row) (missed int, err error) {
	out := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "name\tours (lowest..highest)\tunit\tpeer\tratio\tbar\tverdict")
	for _, r := range rows {
		peer, ratio := "", ""
		if len(r.against) > 0 {
			peer = r.peer + " " + spread(r.against)
			ratio = strconv.FormatFloat(r.ratio(), 'f', 2, 64)
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.name, spread(r.samples), r.unit, peer, ratio, r.bar, r.verdict())
		if r.verdict() == verdictMissed {
			missed++
		}
	}
	return missed, out.Flush()
}

// spread is the median with the lowest and the highest sample, if they differ.
func spread(samples []float64) string {
	if len(samples) == 0 {
		return "none"
	}
	low, high := slices.Min(samples), slices.Max(samples)
	if low == high {
		return number(low)
	}
	return fmt.Sprintf("%s (%s..%s)", number(median(samples)), number(low), number(high))
}

// number writes a figure with about three digits that mean something.
func number(v float64) string {
	digits := 0
	switch {
	case v == 0 || v >= 100:
	case v >= 10:
		digits = 1
	case v >= 1:
		digits = 2
	default:
		digits = 3
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}
