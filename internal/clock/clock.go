// Package clock is this machine's clock, for what is compared with the times of
// others: times that are stored, sent or in certificates. How long something
// takes is measured with package time, whose times also carry a monotonic
// reading, which no step of the clock disturbs.
//
// Built with the tag clockjump, for tests only, the clock is off by what a file
// says (see jump.go).
//
// It must not know who looks at the clock.
package clock
