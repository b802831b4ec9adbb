package client

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestOrderPutsRecentFailuresLast(t *testing.T) {
	now := time.Now()
	b := newBook([]string{"a:1", "b:1", "a:1"})
	b.now = func() time.Time { return now }
	b.add([]string{"c:1", "b:1", "no port"})
	expect := func(what string, want ...string) {
		t.Helper()
		if got := b.order(false); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	expect("as configured, then learned", "a:1", "b:1", "c:1")
	b.mark("a:1", "x")
	now = now.Add(time.Second)
	b.mark("b:1", "y")
	expect("oldest failure first", "c:1", "a:1", "b:1")
	b.prefer([]string{"b:1", "d:1"})
	expect("preferred first", "b:1", "d:1", "c:1", "a:1")
	b.good("b:1")
	expect("an answer clears both", "b:1", "c:1", "a:1")
	now = now.Add(2 * markFor)
	expect("failures are forgotten", "a:1", "b:1", "c:1")
	b.replace(nil)
	expect("configured ones stay", "a:1", "b:1")
}

func TestLearnedAddressesAreBounded(t *testing.T) {
	b := newBook([]string{"a:1"})
	for i := range 3 * maxLearned {
		b.add([]string{string(rune('一'+i)) + ":1"})
	}
	if b.size() != maxLearned+1 {
		t.Fatal(b.size())
	}
}

func TestClientsEvenOutWhenANodeComesBack(t *testing.T) {
	const clients = 3000
	two, three := []string{"a", "b"}, []string{"a", "b", "c"}
	count := map[string]int{}
	for i := range clients {
		here := two[i%2]
		if to := better(two, three, here, ""); to != "" {
			here = to
		}
		count[here]++
	}
	for node, n := range count {
		if math.Abs(float64(n)-clients/3) > clients/20 {
			t.Errorf("%s has %d of %d", node, n, clients)
		}
	}
}

func TestBetterStaysWithoutReason(t *testing.T) {
	all := []string{"a", "b", "c"}
	for range 50 {
		for _, got := range []string{
			better(nil, all, "a", "b"),                // first look
			better(all, all, "a", ""),                 // nothing changed
			better(all, []string{"a"}, "a", "b"),      // alone
			better([]string{"b"}, all[:2], "a", ""),   // only we are new
			better(all, []string{"a", "c"}, "a", "b"), // the lost one is gone
		} {
			if got != "" {
				t.Fatalf("moves to %s", got)
			}
		}
	}
}

func TestBetterReturnsToANodeThatWasMissedByNobodyElse(t *testing.T) {
	all := []string{"a", "b", "c"}
	for range 200 {
		if better(all, all, "a", "b") == "b" {
			return
		}
	}
	t.Fatal("never goes back")
}
