package check

import (
	"fmt"
	"hash/fnv"

	"github.com/anishathalye/porcupine"
)

// register is the state of one register: each change raises the version by one.
type register struct {
	value   string
	version uint64
}

// registerInput is an operation and what the whole history says of it.
type registerInput struct {
	op *Op
	// made is the version that the operation's value was seen at; 0 if nobody
	// saw it.
	made uint64
	// owners says which value each version has, as far as anybody saw. It is
	// shared by all operations on the register.
	owners map[uint64]string
}

// registerModel is the register for Porcupine, partitioned by key.
func registerModel() porcupine.Model {
	return porcupine.Model{
		Partition: partition,
		Init:      func() any { return register{} },
		Step: func(state, input, _ any) (bool, any) {
			ok, next := step(state.(register), input.(*registerInput))
			return ok, next
		},
		Hash: func(state any) uint64 {
			s := state.(register)
			h := fnv.New64a()
			fmt.Fprintf(h, "%d %s", s.version, s.value)
			return h.Sum64()
		},
		DescribeOperation: func(input, _ any) string { return input.(*registerInput).op.what() },
		DescribeState: func(state any) string {
			s := state.(register)
			return fmt.Sprintf("%s at version %d", s.value, s.version)
		},
	}
}

func partition(history []porcupine.Operation) [][]porcupine.Operation {
	place := map[string]int{}
	var parts [][]porcupine.Operation
	for _, o := range history {
		key := o.Input.(*registerInput).op.Key
		if _, ok := place[key]; !ok {
			place[key] = len(parts)
			parts = append(parts, nil)
		}
		parts[place[key]] = append(parts[place[key]], o)
	}
	return parts
}

// step tells whether the operation can have ended as it did in the state, and
// the state after it.
func step(s register, in *registerInput) (bool, register) {
	o := in.op
	switch {
	case !o.writes():
		return o.Version == s.version && o.Value == s.value, s
	case o.Outcome == Refused:
		return o.Kind == CAS && o.Expect != s.version, s
	case o.Kind == CAS && o.Expect != s.version:
		// A condition that does not hold has no effect, which is an end that
		// an unknown one may have had.
		return o.Outcome == Unknown, s
	case !in.canMake(s.version + 1):
		return false, s
	case o.Outcome == OK && o.Version != 0 && o.Version < s.version+1:
		return false, s // the answer is older than the write
	default:
		return true, register{o.Value, s.version + 1}
	}
}

// canMake tells whether the operation can be the one that made the version. What
// was seen cuts off at once what would otherwise be tried in vain.
func (in *registerInput) canMake(version uint64) bool {
	if in.made != 0 {
		return in.made == version
	}
	owner, seen := in.owners[version]
	return !seen || owner == in.op.Value
}

// known is what a register's history says for certain, whatever the order.
type known struct {
	owners         map[uint64]string // the value of each version that was seen
	made           map[string]uint64 // the version of each value that was seen
	contradictions []string
}

// newKnown collects what the operations on one register, sorted by call, have
// seen.
func newKnown(ops []Op) *known {
	k := &known{owners: map[uint64]string{}, made: map[string]uint64{}}
	writers := map[string]*Op{}
	for i := range ops {
		o := &ops[i]
		if o.writes() {
			if writers[o.Value] != nil {
				k.contradict("the history is of no use: %s is written twice to %s", o.Value, o.Key)
			}
			writers[o.Value] = o
		}
		if o.Kind == CAS && o.Outcome == OK {
			k.saw(o, o.Expect+1)
		}
	}
	for i := range ops {
		o := &ops[i]
		if o.writes() || o.Outcome != OK || o.Version == 0 {
			continue
		}
		k.saw(o, o.Version)
		switch w := writers[o.Value]; {
		case w == nil:
			k.contradict("nobody wrote what was read: %s", o)
		case !w.mayCount():
			k.contradict("the value of an operation without effect was read: %s; and then: %s", w, o)
		case w.Call > o.Return:
			k.contradict("a value was read before it was written: %s; and then: %s", o, w)
		}
	}
	return k
}

// saw notes that the register had the operation's value at the version. Of what
// contradicts itself the first counts.
func (k *known) saw(o *Op, version uint64) {
	if owner, ok := k.owners[version]; ok && owner != o.Value {
		k.contradict("version %d of %s has two values, %s and %s: %s", version, o.Key, owner, o.Value, o)
	}
	if made, ok := k.made[o.Value]; ok && made != version {
		k.contradict("%s = %s was done more than once: it made version %d and version %d: %s", o.Key, o.Value, made, version, o)
	}
	if _, ok := k.owners[version]; !ok {
		k.owners[version] = o.Value
	}
	if _, ok := k.made[o.Value]; !ok {
		k.made[o.Value] = version
	}
}

func (k *known) contradict(format string, args ...any) {
	k.contradictions = append(k.contradictions, fmt.Sprintf(format, args...))
}

// operations returns what has to be put in order. An unknown end comes after
// all others; what certainly had no effect is left out, and so are stale reads.
func (k *known) operations(ops []Op) []porcupine.Operation {
	var end int64
	for _, o := range ops {
		end = max(end, o.Return, o.Call)
	}
	var list []porcupine.Operation
	lanes := map[int]int{} // of the picture: an unknown operation keeps its own to the end
	next := 0
	for i := range ops {
		o := &ops[i]
		if o.Kind == StaleRead || o.Outcome == NotDone || !o.writes() && o.Outcome != OK {
			continue
		}
		lane, ok := lanes[o.Client]
		if !ok {
			lane = next
			lanes[o.Client], next = lane, next+1
		}
		until := o.Return
		if o.Outcome == Unknown {
			until = end + 1
			delete(lanes, o.Client)
		}
		list = append(list, porcupine.Operation{
			ClientId: lane, Call: o.Call, Return: until,
			Input: &registerInput{op: o, made: k.made[o.Value], owners: k.owners},
		})
	}
	return list
}
