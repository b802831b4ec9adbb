package check

import (
	"fmt"
	"io"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// maxDrawn bounds the registers of a picture.
	maxDrawn = 4
	// drawLimit bounds the search for the longest explanation of a history that
	// has none.
	drawLimit = 30 * time.Second
	// maxExcerpt bounds the operations that a verdict shows.
	maxExcerpt = 60
)

// Registers checks that there is one order of all operations on each register
// that explains every answer and in which no operation stands before one that
// had ended when it began. Its stale reads and its sessions are checked too. A
// history that cannot be decided within limit is a violation.
func Registers(history []Op, limit time.Duration) *Verdict {
	v := verdictOf("registers", history)
	keys, of := byKey(history)
	began := time.Now()
	var bad []string
	for _, key := range keys {
		k := newKnown(of[key])
		for _, text := range k.contradictions {
			v.violated("%s", text)
		}
		staleReads(v, key, of[key])
		left := limit - time.Since(began)
		if left <= 0 {
			v.violated("after %s the history of %s and perhaps of others is not decided", limit, key)
			break
		}
		switch porcupine.CheckOperationsTimeout(registerModel(), k.operations(of[key]), left) {
		case porcupine.Illegal:
			bad = append(bad, key)
		case porcupine.Unknown:
			v.violated("after %s it is not decided whether an order explains the %d operations on %s", limit, len(of[key]), key)
		}
	}
	sessions(v, history)
	v.explain(bad, of)
	v.Summary = fmt.Sprintf("%s, checked in %s", counts(history, len(keys)), time.Since(began).Round(time.Millisecond))
	return v
}

// explain says of each register without an order how far one goes, and draws the
// first of them.
func (v *Verdict) explain(bad []string, of map[string][]Op) {
	var drawn []porcupine.Operation
	for i, key := range bad {
		operations := newKnown(of[key]).operations(of[key])
		_, info := porcupine.CheckOperationsVerbose(registerModel(), operations, drawLimit)
		explained, first := furthest(operations, info)
		v.violated("no order explains the operations on %s: the longest explains %d of %d, but not %s",
			key, explained, len(operations), first)
		if i < maxDrawn {
			drawn = append(drawn, operations...)
		}
		if i == 0 {
			v.excerpt = around(of[key], first)
		}
	}
	if len(drawn) > 0 {
		v.picture = func(w io.Writer) error {
			model := registerModel()
			_, info := porcupine.CheckOperationsVerbose(model, drawn, drawLimit)
			return porcupine.Visualize(model, info, w)
		}
	}
}

// furthest returns how many operations the longest partial order holds, and the
// first one to end of those that it does not hold.
func furthest(all []porcupine.Operation, info porcupine.LinearizationInfo) (explained int, first *Op) {
	held := map[*Op]bool{}
	for _, partition := range info.PartialLinearizationsOperations() {
		for _, order := range partition {
			if len(order) <= explained {
				continue
			}
			explained = len(order)
			clear(held)
			for _, o := range order {
				held[o.Input.(*registerInput).op] = true
			}
		}
	}
	for _, o := range all {
		op := o.Input.(*registerInput).op
		if !held[op] && (first == nil || op.Return < first.Return) {
			first = op
		}
	}
	return explained, first
}

// around returns the operations near the one, in words.
func around(ops []Op, one *Op) []string {
	middle := 0
	for i := range ops {
		if one != nil && ops[i].Call <= one.Call {
			middle = i
		}
	}
	var lines []string
	for i := max(0, middle-maxExcerpt/2); i < min(len(ops), middle+maxExcerpt/2); i++ {
		lines = append(lines, ops[i].String())
	}
	return lines
}

// counts says what a history consists of.
func counts(history []Op, keys int) string {
	n := map[string]int{}
	for i := range history {
		o := &history[i]
		n[o.Kind]++
		n[string(o.Outcome)]++
	}
	return fmt.Sprintf("%d operations on %d registers (%d reads, %d stale reads, %d writes, %d cas): %d done, %d refused, %d not done, %d unknown",
		len(history), keys, n[Read], n[StaleRead], n[Write], n[CAS],
		n[string(OK)], n[string(Refused)], n[string(NotDone)], n[string(Unknown)])
}
