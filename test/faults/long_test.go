//go:build linux && faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// perRun is how long one of several runs takes.
const perRun = 4 * time.Minute

// TestLongRuns does several runs, over three and five nodes by turns, or the
// one whose seed is asked for.
func TestLongRuns(t *testing.T) {
	total := 20 * time.Minute
	if text := os.Getenv("FAULTS_DURATION"); text != "" {
		var err error
		if total, err = time.ParseDuration(text); err != nil {
			t.Fatalf("FAULTS_DURATION: %v", err)
		}
	}
	chosen := os.Getenv("FAULTS")
	faults, err := namedFaults(chosen)
	if err != nil {
		t.Fatalf("FAULTS: %v", err)
	}
	first := seed(t)
	if os.Getenv("FAULTS_SEED") != "" {
		disturb(t, options{seed: first, nodes: nodes(t, first), duration: total, faults: faults, chosen: chosen, quick: chosen == quick})
		return
	}
	runs := max(1, int((total+perRun/2)/perRun))
	for i := range runs {
		one := first + uint64(i)
		t.Run(fmt.Sprintf("seed %d", one), func(t *testing.T) {
			disturb(t, options{seed: one, nodes: nodes(t, one), duration: total / time.Duration(runs), faults: faults, chosen: chosen})
		})
	}
}

// nodes is how many nodes a run has: as asked for, or by its seed.
func nodes(t *testing.T, seed uint64) int {
	t.Helper()
	text := os.Getenv("FAULTS_NODES")
	if text == "" {
		return 3 + 2*int(seed%2)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 2 {
		t.Fatalf("FAULTS_NODES: want a number of nodes, at least 2, not %q", text)
	}
	return n
}

// namedFaults returns the faults of a list of names.
func namedFaults(list string) ([]fault, error) {
	switch list {
	case "":
		return allFaults(), nil
	case quick:
		return quickFaults(), nil
	}
	var chosen []fault
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(allFaults(), func(f fault) bool { return f.name == name })
		if i < 0 {
			return nil, errors.New("no fault is called " + strconv.Quote(name))
		}
		chosen = append(chosen, allFaults()[i])
	}
	return chosen, nil
}
