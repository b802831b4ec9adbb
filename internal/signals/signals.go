// Package signals knows the names of Linux's signals. The numbers are those of
// every processor that Waypoint is built for, whatever system it runs on: a
// command line on a Mac may name a signal for an app on Linux.
//
// It must not know who sends signals or why.
package signals

import (
	"strconv"
	"strings"
)

// The largest number, and the first and last of the real-time signals as the
// C library counts them.
const (
	last  = 64
	rtMin = 34
	rtMax = 64
)

// Number returns the number of a signal that is named "HUP", "SIGHUP",
// "RTMIN+1" or "RTMAX-1", in letters of either case, or is a number from 1 to
// 64 already.
func Number(name string) (number int, ok bool) {
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		return int(n), n >= 1 && n <= last
	}
	name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if offset, found := strings.CutPrefix(name, "RTMIN"); found {
		return realTime(rtMin, "+", offset)
	}
	if offset, found := strings.CutPrefix(name, "RTMAX"); found {
		return realTime(rtMax, "-", offset)
	}
	number = byName(name)
	return number, number != 0
}

// realTime counts from one end of the real-time signals towards the other.
func realTime(from int, sign, offset string) (number int, ok bool) {
	if offset == "" {
		return from, true
	}
	digits, found := strings.CutPrefix(offset, sign)
	n, err := strconv.ParseUint(digits, 10, 8)
	if !found || err != nil || n > rtMax-rtMin {
		return 0, false
	}
	if sign == "-" {
		return from - int(n), true
	}
	return from + int(n), true
}

// byName is 0 for a name that no signal has.
func byName(name string) int {
	switch name {
	case "IOT":
		return 6 // ABRT
	case "CLD":
		return 17 // CHLD
	case "POLL":
		return 29 // IO
	case "":
		return 0
	}
	for i, other := range [...]string{
		"", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
		"STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
	} {
		if name == other {
			return i
		}
	}
	return 0
}
