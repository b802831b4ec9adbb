package cluster

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"
)

// electorate answers polls. A node without a term does not answer.
type electorate struct {
	mu    sync.Mutex
	terms map[string]uint64
	asked []string
}

func (e *electorate) term(ctx context.Context, id string, _ uint64) uint64 {
	e.mu.Lock()
	e.asked = append(e.asked, id)
	term := e.terms[id]
	e.mu.Unlock()
	if term == 0 {
		<-ctx.Done()
	}
	return term
}

// takeAsked returns who was asked since the last look, sorted.
func (e *electorate) takeAsked() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	asked := slices.Sorted(slices.Values(e.asked))
	e.asked = nil
	return asked
}

// patientPoll asks others only when somebody says no.
func patientPoll(e *electorate) *poll {
	p := newPoll(e.term)
	p.patience = time.Hour
	return p
}

func TestPollAsksNoMoreThanItNeeds(t *testing.T) {
	e := &electorate{terms: map[string]uint64{"a": 7, "b": 7, "c": 7, "d": 7}}
	p := patientPoll(e)
	ids := []string{"a", "b", "c", "d"}
	for range pollAll - 1 {
		if !p.agree(t.Context(), ids, 2, 7) {
			t.Error("they do not agree")
		}
		if asked := e.takeAsked(); !slices.Equal(asked, []string{"a", "b"}) {
			t.Errorf("it asked %q", asked)
		}
	}
}

func TestPollTurnsToOthers(t *testing.T) {
	ids := []string{"a", "b", "c", "d"}
	for _, c := range []struct {
		what  string
		terms map[string]uint64
		agree bool
		next  []string // who is asked first afterwards; nil: whoever
	}{
		{"one is in another term", map[string]uint64{"a": 8, "b": 7, "c": 7, "d": 7}, true, []string{"b", "c"}},
		{"just enough answer", map[string]uint64{"a": 6, "b": 6, "c": 7, "d": 7}, true, []string{"c", "d"}},
		{"too few answer", map[string]uint64{"a": 8, "b": 8, "c": 7, "d": 6}, false, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			e := &electorate{terms: c.terms}
			p := patientPoll(e)
			if p.agree(t.Context(), ids, 2, 7) != c.agree {
				t.Errorf("agreement is not %t", c.agree)
			}
			e.takeAsked()
			if c.next == nil {
				return
			}
			if !p.agree(t.Context(), ids, 2, 7) {
				t.Error("they do not agree any more")
			}
			if asked := e.takeAsked(); !slices.Equal(asked, c.next) {
				t.Errorf("then it asked %q", asked)
			}
		})
	}
}

func TestPollDoesNotWaitForTheSilent(t *testing.T) {
	e := &electorate{terms: map[string]uint64{"b": 7}}
	if !newPoll(e.term).agree(t.Context(), []string{"a", "b"}, 1, 7) {
		t.Error("one has answered, and they do not agree")
	}
}

// Somebody who is near but was slow once is found again.
func TestPollAsksEverybodyNowAndThen(t *testing.T) {
	e := &electorate{terms: map[string]uint64{"far": 7, "near": 7}}
	p := patientPoll(e)
	ids := []string{"far", "near"}
	for range pollAll - 1 {
		p.agree(t.Context(), ids, 1, 7)
	}
	if p.order[0] != "far" {
		t.Fatalf("the order is %q before everybody was asked", p.order)
	}
	e.terms = map[string]uint64{"near": 7}
	if p.agree(t.Context(), ids, 1, 7); p.order[0] != "near" {
		t.Errorf("the order is %q", p.order)
	}
}

func TestPollEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := &electorate{}
	p := newPoll(func(ctx context.Context, id string, _ uint64) uint64 {
		cancel()
		return e.term(ctx, id, 7)
	})
	if p.agree(ctx, []string{"a", "b"}, 1, 7) {
		t.Error("nobody has answered, and they agree")
	}
}

func TestPollForgetsWhoVotesNoMore(t *testing.T) {
	e := &electorate{terms: map[string]uint64{"a": 7, "b": 7, "c": 7}}
	p := patientPoll(e)
	p.agree(t.Context(), []string{"a", "b"}, 1, 7)
	p.agree(t.Context(), []string{"b", "c"}, 1, 7)
	e.takeAsked()
	p.agree(t.Context(), []string{"b", "c"}, 1, 7)
	if asked := e.takeAsked(); !slices.Equal(asked, []string{"b"}) || slices.Contains(p.order, "a") {
		t.Errorf("it asked %q and remembers %q", asked, p.order)
	}
}
