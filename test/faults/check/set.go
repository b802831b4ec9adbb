package check

import (
	"fmt"
	"maps"
	"slices"
)

// Add is the operation that adds a name to a set; no two add the same. A Read of
// a set is one operation for each name that is in it.
const Add = "add"

// Set checks a set of unique names, of which each was added once on the
// condition that it is not there: every acknowledged one is in every reading of
// the end, none that was refused is, and none was added twice. Final holds those
// readings, one per client, which read one after the other.
func Set(adds, final []Op) *Verdict {
	history := slices.Concat(adds, final)
	v := verdictOf("set", history)
	added := map[string]*Op{}
	for i := range adds {
		o := &adds[i]
		if added[o.Key] != nil {
			v.violated("the history is of no use: %s is added twice", o.Key)
		}
		if added[o.Key] = o; o.Outcome == Refused {
			v.violated("%s was found to be there by the client that added it, so it was done more than once: %s", o.Key, o.Error)
		}
	}
	readers := map[int]map[string]uint64{}
	for i := range final {
		o := &final[i]
		if readers[o.Client] == nil {
			readers[o.Client] = map[string]uint64{}
		}
		if _, twice := readers[o.Client][o.Key]; twice {
			v.violated("%s is there twice, as client %d read it", o.Key, o.Client)
		}
		readers[o.Client][o.Key] = o.Version
	}
	if len(readers) == 0 {
		v.violated("nobody has read the set in the end")
	}
	n := map[Outcome]int{}
	for i := range adds {
		n[adds[i].Outcome]++
	}
	late := 0
	var before map[string]uint64
	for _, client := range slices.Sorted(maps.Keys(readers)) {
		late = v.reading(client, readers[client], adds, added)
		for name := range before {
			if _, there := readers[client][name]; !there {
				v.violated("%s is gone, as client %d read it: the one before still read it", name, client)
			}
		}
		before = readers[client]
	}
	v.Summary = fmt.Sprintf("%d names added: %d done, %d not done, %d unknown, of which %d are there; read by %d clients",
		len(adds), n[OK], n[NotDone], n[Unknown], late, len(readers))
	return v
}

// reading compares what one client read in the end with what was added. It
// returns how many of the unknown ones are there.
func (v *Verdict) reading(client int, names map[string]uint64, adds []Op, added map[string]*Op) (unknown int) {
	for i := range adds {
		o := &adds[i]
		version, there := names[o.Key]
		switch {
		case !there && o.Outcome == OK:
			v.violated("%s was acknowledged and is not there, as client %d read it: %s", o.Key, client, o)
		case there && o.Outcome == NotDone:
			v.violated("%s is there, as client %d read it, though it was certainly not added: %s", o.Key, client, o)
		case there && version != 1:
			v.violated("%s is at version %d, as client %d read it, so it was added more than once: %s", o.Key, version, client, o)
		case there && o.Outcome == Unknown:
			unknown++
		}
	}
	for name := range names {
		if added[name] == nil {
			v.violated("%s is there, as client %d read it, and nobody added it", name, client)
		}
	}
	return unknown
}
