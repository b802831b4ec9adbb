package cluster

import (
	"context"
	"slices"
	"time"
)

const (
	// pollPatience is how long those who are asked first may take. Nodes near each
	// other take a tenth of it.
	pollPatience = 10 * time.Millisecond
	// pollAll is the part of the polls that ask everybody, to learn who is near.
	pollAll = 64
)

// poll finds out whether enough nodes are in a term. It asks as many as it needs,
// those first that answered last, and the others when one of them says no or
// takes long: to ask all of them each time would double what a read costs. One
// goroutine at a time may use it.
type poll struct {
	term     func(ctx context.Context, id string, asked uint64) uint64
	patience time.Duration
	polls    int
	order    []string // in which to ask: who has answered last comes first
}

func newPoll(term func(context.Context, string, uint64) uint64) *poll {
	return &poll{term: term, patience: pollPatience}
}

// ballot is what a node answered.
type ballot struct {
	id   string
	term uint64
}

// agree reports whether need of the nodes are in the given term. It does not wait
// for the rest.
func (p *poll) agree(ctx context.Context, ids []string, need int, term uint64) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting := p.inOrder(ids)
	ballots := make(chan ballot, len(waiting)) // nobody may be left to take them
	pending := 0
	ask := func(n int) {
		for _, id := range waiting[:n] {
			pending++
			go func() { ballots <- ballot{id, p.term(ctx, id, term)} }()
		}
		waiting = waiting[n:]
	}
	first := min(need, len(waiting))
	if p.polls++; p.polls%pollAll == 0 {
		first = len(waiting)
	}
	ask(first)
	patience := time.NewTimer(p.patience)
	defer patience.Stop()
	for need > 0 && pending > 0 {
		select {
		case b := <-ballots:
			pending--
			if b.term == term {
				need--
				p.answered(b.id)
			} else {
				ask(min(1, len(waiting)))
			}
		case <-patience.C:
			ask(len(waiting))
		}
	}
	return need <= 0
}

// inOrder returns the nodes in the order in which to ask them, and forgets who is
// none of them any more.
func (p *poll) inOrder(ids []string) []string {
	var order []string
	for _, id := range slices.Concat(p.order, ids) {
		if slices.Contains(ids, id) && !slices.Contains(order, id) {
			order = append(order, id)
		}
	}
	p.order = order
	return order
}

// answered puts a node before the others.
func (p *poll) answered(id string) {
	others := slices.DeleteFunc(slices.Clone(p.order), func(other string) bool { return other == id })
	p.order = append([]string{id}, others...)
}
