package check

import (
	"fmt"
	"maps"
	"slices"
)

// Half is one of the two variables of a pair, which are only ever written
// together, with one value.
type Half struct {
	Value   string `json:"value"`
	Version uint64 `json:"version"`
}

// Snapshot is one reading of all pairs in one call. Pairs that are not there
// are left out.
type Snapshot struct {
	Client int                `json:"client"`
	Call   int64              `json:"call"` // ns
	Return int64              `json:"return"`
	Stale  bool               `json:"stale,omitempty"`
	Pairs  map[string][2]Half `json:"pairs"`
}

// Snapshots checks that each reading shows a state between two changes: both
// halves of each pair are the same. All states that were read, also stale ones,
// are points of one history: of any two, one is as new in every pair. And a
// current reading is at least as new as every one that had ended when it began.
func Snapshots(history []Snapshot) *Verdict {
	v := verdictOf("snapshots", history)
	states := slices.Clone(history)
	stale := 0
	for _, s := range states {
		if s.Stale {
			stale++
		}
		for _, name := range slices.Sorted(maps.Keys(s.Pairs)) {
			if p := s.Pairs[name]; p[0] != p[1] {
				v.violated("client %d at %s s read half a change of %s: %+v", s.Client, at(s.Return), name, p)
			}
		}
	}
	// Where they are points of one history, their ages put them into order.
	slices.SortStableFunc(states, func(a, b Snapshot) int { return int(a.age()) - int(b.age()) })
	distinct := 0
	for i := 1; i < len(states); i++ {
		older, newer := states[i-1], states[i]
		if older.age() != newer.age() {
			distinct++
		}
		if name := older.newerIn(newer); name != "" {
			v.violated("no history has both states: client %d at %s s read %s at version %d, client %d at %s s at version %d, and other pairs the other way round",
				older.Client, at(older.Return), name, older.Pairs[name][0].Version, newer.Client, at(newer.Return), newer.Pairs[name][0].Version)
		}
	}
	v.current(history)
	if len(history) == 0 {
		v.violated("nothing was read")
	}
	v.Summary = fmt.Sprintf("%d readings, %d of them stale, of %d states", len(history), stale, distinct+1)
	return v
}

// age counts the changes that a state holds.
func (s Snapshot) age() (changes uint64) {
	for _, p := range s.Pairs {
		changes += p[0].Version
	}
	return changes
}

// newerIn names a pair in which s is newer than the other state, or has another
// value at the same version; empty if there is none.
func (s Snapshot) newerIn(other Snapshot) string {
	for _, name := range slices.Sorted(maps.Keys(s.Pairs)) {
		mine, theirs := s.Pairs[name][0], other.Pairs[name][0]
		if mine.Version > theirs.Version || mine.Version == theirs.Version && mine.Value != theirs.Value {
			return name
		}
	}
	return ""
}

// current checks the readings that promise to be current.
func (v *Verdict) current(history []Snapshot) {
	began := slices.SortedStableFunc(slices.Values(history), func(a, b Snapshot) int { return int(a.Call - b.Call) })
	ended := slices.SortedStableFunc(slices.Values(history), func(a, b Snapshot) int { return int(a.Return - b.Return) })
	var newest Snapshot // of those that have ended
	next := 0
	for _, s := range began {
		for ; next < len(ended) && ended[next].Return < s.Call; next++ {
			if ended[next].age() > newest.age() {
				newest = ended[next]
			}
		}
		if !s.Stale && s.age() < newest.age() {
			v.violated("client %d read a state of %d changes at %s s, after client %d had read one of %d changes at %s s",
				s.Client, s.age(), at(s.Call), newest.Client, newest.age(), at(newest.Return))
		}
	}
}
