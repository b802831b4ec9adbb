package check

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// What an application's history tells.
const (
	Started = "start" // the application says that it begins
	Wrote   = "line"  // it wrote its N-th line, as its own output shows
	Ended   = "end"   // it says that it ends; N is its last line
	Stop    = "stop"  // its entrypoint was asked to end
	Exited  = "exit"  // its entrypoint has ended; N is the exit code
	Strange = "other" // its output shows something else
)

// AppEvent is what is known of one application without any help of the cluster:
// its own output, and the process of its entrypoint.
type AppEvent struct {
	At   int64  `json:"at"` // ns
	App  string `json:"app"`
	Kind string `json:"kind"`
	N    uint64 `json:"n,omitempty"`
	Text string `json:"text,omitempty"` // of Strange
}

// Instances checks that no application has ended, begun again or stood still
// for longer than a time before somebody asked for its end, and that each one
// then ended as asked.
func Instances(history []AppEvent, standstill time.Duration) *Verdict {
	v := verdictOf("instances", history)
	apps := map[string][]AppEvent{}
	for _, e := range history {
		apps[e.App] = append(apps[e.App], e)
	}
	var longest time.Duration
	for _, name := range slices.Sorted(maps.Keys(apps)) {
		longest = max(longest, v.life(name, apps[name], standstill))
	}
	if len(apps) == 0 {
		v.violated("no application ran")
	}
	v.Summary = fmt.Sprintf("%d applications; the longest time between two lines of one was %s", len(apps), longest.Round(time.Millisecond))
	return v
}

// life checks one application and returns the longest time between two lines.
func (v *Verdict) life(name string, events []AppEvent, standstill time.Duration) (longest time.Duration) {
	events = slices.SortedStableFunc(slices.Values(events), func(a, b AppEvent) int { return int(a.At - b.At) })
	starts, ended, exited, asked := 0, false, false, false
	var last, lines int64
	for _, e := range events {
		switch e.Kind {
		case Started:
			if starts++; starts > 1 {
				v.violated("%s was started again at %s s", name, at(e.At))
			}
			last = e.At
		case Wrote:
			if pause := time.Duration(e.At - last); starts > 0 && !asked {
				longest = max(longest, pause)
				if pause > standstill {
					v.violated("%s stood still for %s before line %d, at %s s", name, pause, e.N, at(e.At))
				}
			}
			last = e.At
			if lines++; int64(e.N) != lines {
				v.violated("%s wrote line %d after line %d, at %s s", name, e.N, lines-1, at(e.At))
				lines = int64(e.N)
			}
		case Ended:
			if ended = true; !asked {
				v.violated("%s ended at %s s, which nobody had asked for", name, at(e.At))
			}
		case Stop:
			asked = true
		case Exited:
			if exited = true; !asked {
				v.violated("the entrypoint of %s ended at %s s with code %d, which nobody had asked for", name, at(e.At), e.N)
			} else if e.N != 0 {
				v.violated("the entrypoint of %s ended with code %d, its application with 0", name, e.N)
			}
		default:
			v.violated("%s wrote what it does not write: %q", name, e.Text)
		}
	}
	if starts == 0 || lines == 0 || !ended || !exited {
		v.violated("%s did not live from begin to end: %d starts, %d lines, ended %t, its entrypoint %t", name, starts, lines, ended, exited)
	}
	return longest
}

// LogLine is a line, or a gap, as "waypoint logs" told it, in the order of a
// reader.
type LogLine struct {
	At       int64  `json:"at"` // ns
	Instance string `json:"instance"`
	Seq      uint64 `json:"seq,omitempty"`  // of a line: counts the lines of the instance, from 1 up
	App      string `json:"app,omitempty"`  // of a line that the application wrote
	N        uint64 `json:"n,omitempty"`    // which of the application's lines it is; 0: it is none of the numbered ones
	Gap      bool   `json:"gap,omitempty"`  // lines are lost
	Lost     uint64 `json:"lost,omitempty"` // of a gap: how many; 0: unknown
	Strange  string `json:"strange,omitempty"`
}

// Logs checks that each line of each application was read exactly once, in
// order, or lies in a gap that was told. Wrote is how many lines each
// application wrote, by name.
func Logs(history []LogLine, wrote map[string]uint64) *Verdict {
	v := verdictOf("logs", history)
	sources := map[string]*source{}
	apps := map[string]*source{}
	var lines, lost, gaps uint64
	for _, l := range history {
		s := sources[l.Instance]
		if s == nil {
			s = &source{v: v, id: l.Instance}
			sources[l.Instance] = s
		}
		if l.Gap {
			gaps++
			lost += l.Lost
			s.gap(l)
			continue
		}
		lines++
		s.line(l)
		if l.App != "" {
			apps[l.App] = s
		}
	}
	for _, app := range slices.Sorted(maps.Keys(wrote)) {
		switch s := apps[app]; {
		case s == nil:
			v.violated("no line of %s was read", app)
		case s.app != app:
			v.violated("instance %s has lines of %s and of %s", s.id, s.app, app)
		case s.n+s.hidden < wrote[app] && !s.endless:
			v.violated("%s wrote %d lines, the last that was read is %d, and no gap was told after it", app, wrote[app], s.n)
		case s.n > wrote[app]:
			v.violated("line %d of %s was read, which wrote only %d", s.n, app, wrote[app])
		}
	}
	v.Summary = fmt.Sprintf("%d lines of %d instances read, %d lost in %d gaps that were told", lines, len(sources), lost, gaps)
	return v
}

// source is what has been read of one instance.
type source struct {
	v       *Verdict
	id, app string
	seq     uint64 // of the newest line or gap
	n       uint64 // the newest of the application's lines
	hidden  uint64 // lines in gaps since then
	endless bool   // a gap of unknown size has come since then
	unknown bool   // and no line at all since then
}

func (s *source) gap(l LogLine) {
	s.seq += l.Lost
	s.hidden += l.Lost
	s.unknown = s.unknown || l.Lost == 0
	s.endless = s.endless || l.Lost == 0
}

func (s *source) line(l LogLine) {
	switch want := s.seq + 1; {
	case l.Seq < want:
		s.v.violated("instance %s: line %d came again, after line %d", s.id, l.Seq, s.seq)
	case l.Seq > want && !s.unknown:
		s.v.violated("instance %s: lines %d to %d are missing and no gap was told", s.id, want, l.Seq-1)
	}
	s.seq, s.unknown = max(s.seq, l.Seq), false
	if l.Strange != "" {
		s.v.violated("instance %s: line %d is not what its application wrote: %q", s.id, l.Seq, l.Strange)
	}
	if l.N == 0 {
		return
	}
	s.app = l.App
	switch want := s.n + 1; {
	case l.N < want:
		s.v.violated("%s: its line %d came again, after %d, as line %d of instance %s", l.App, l.N, s.n, l.Seq, s.id)
	case l.N-want > s.hidden && !s.endless:
		s.v.violated("%s: its lines %d to %d were never read, and gaps of only %d lines were told", l.App, want, l.N-1, s.hidden)
	}
	s.n, s.hidden, s.endless = max(s.n, l.N), 0, false
}
