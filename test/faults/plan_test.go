//go:build linux

package faults

import (
	"slices"
	"testing"
)

// drawn returns the names of the faults of a plan's first steps.
func drawn(seed uint64, faults []fault, steps int) (names [][]string) {
	p := newPlan(seed, faults, true)
	for range steps {
		var step []string
		for _, f := range p.next() {
			step = append(step, f.name)
		}
		names = append(names, step)
	}
	return names
}

func TestTheSameSeedDrawsTheSameFaults(t *testing.T) {
	one, again, other := drawn(1, allFaults(), 100), drawn(1, allFaults(), 100), drawn(2, allFaults(), 100)
	same := func(a, b [][]string) bool { return slices.EqualFunc(a, b, slices.Equal) }
	if !same(one, again) {
		t.Error("the same seed drew other faults")
	}
	if same(one, other) {
		t.Error("another seed drew the same faults")
	}
}

func TestEachFaultComesBeforeAnyComesAgain(t *testing.T) {
	faults := allFaults()
	seen, mixed := map[string]int{}, 0
	for _, step := range drawn(1, faults, 3*len(faults)) {
		seen[step[0]]++
		if len(step) > 1 {
			mixed++
		}
	}
	for _, f := range faults {
		if seen[f.name] != 3 {
			t.Errorf("%s came %d times of 3", f.name, seen[f.name])
		}
	}
	if mixed == 0 {
		t.Error("no two faults came at a time")
	}
}

func TestFaultsThatAreAloneAreNotMixed(t *testing.T) {
	alone := map[string]bool{}
	for _, f := range allFaults() {
		alone[f.name] = f.alone
	}
	for _, step := range drawn(1, allFaults(), 1000) {
		if len(step) > 1 && (alone[step[0]] || alone[step[1]] || step[0] == step[1]) {
			t.Errorf("%q came together", step)
		}
	}
}
