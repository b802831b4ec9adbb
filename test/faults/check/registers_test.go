package check

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The operations of the tests' histories. Times are small numbers.

func read(client int, call, end int64, value string, version uint64) Op {
	return Op{Client: client, Call: call, Return: end, Kind: Read, Key: "k", Value: value, Version: version, Outcome: OK}
}

func stale(client int, call, end int64, value string, version uint64) Op {
	o := read(client, call, end, value, version)
	o.Kind = StaleRead
	return o
}

func write(client int, call, end int64, value string, outcome Outcome) Op {
	return Op{Client: client, Call: call, Return: end, Kind: Write, Key: "k", Value: value, Outcome: outcome}
}

func cas(client int, call, end int64, expect uint64, value string, outcome Outcome) Op {
	return Op{Client: client, Call: call, Return: end, Kind: CAS, Key: "k", Value: value, Expect: expect, Outcome: outcome}
}

func told(o Op, epoch string, index uint64) Op {
	o.Epoch, o.Index = epoch, index
	return o
}

func TestHistoriesThatARegisterCanHave(t *testing.T) {
	for name, history := range map[string][]Op{
		"nothing":             {},
		"one after the other": {write(0, 1, 2, "a", OK), read(1, 3, 4, "a", 1), cas(0, 5, 6, 1, "b", OK), read(1, 7, 8, "b", 2)},
		"a read beside a write sees either": {
			write(0, 1, 10, "a", OK), read(1, 2, 3, "", 0), read(2, 4, 5, "a", 1), read(1, 6, 7, "a", 1)},
		"a condition that does not hold":         {write(0, 1, 2, "a", OK), cas(1, 3, 4, 0, "b", Refused), read(1, 5, 6, "a", 1)},
		"an unknown write that was done":         {write(0, 1, 2, "a", Unknown), read(1, 3, 4, "", 0), read(1, 5, 6, "a", 1)},
		"an unknown write that was never done":   {write(0, 1, 2, "a", Unknown), write(1, 3, 4, "b", OK), read(1, 5, 6, "b", 1)},
		"an unknown write that was overwritten":  {write(0, 1, 2, "a", Unknown), write(1, 3, 4, "b", OK), read(1, 5, 6, "b", 2)},
		"an unknown cas that was never done":     {write(1, 1, 2, "b", OK), cas(0, 3, 4, 0, "a", Unknown), read(1, 5, 6, "b", 1)},
		"an unknown cas that was done late":      {cas(0, 1, 2, 1, "a", Unknown), write(1, 3, 4, "b", OK), read(1, 5, 6, "b", 1), read(1, 7, 8, "a", 2)},
		"a write without effect":                 {write(0, 1, 2, "a", NotDone), read(1, 3, 4, "", 0)},
		"a stale read of long ago":               {write(0, 1, 2, "a", OK), write(0, 3, 4, "b", OK), read(1, 5, 6, "b", 2), stale(1, 7, 8, "a", 1), stale(1, 9, 10, "", 0)},
		"an answer that is newer than the write": {withVersion(write(0, 1, 9, "a", OK), 2), write(1, 2, 3, "b", OK), read(1, 10, 11, "b", 2)},
		"an older index after a restore": {
			told(read(0, 1, 2, "", 0), "01A", 7), told(read(0, 3, 4, "", 0), "01B", 2)},
		"a stale answer of an older index": {
			told(read(0, 1, 2, "", 0), "01A", 7), told(stale(0, 3, 4, "", 0), "01A", 2), told(read(0, 5, 6, "", 0), "01A", 7)},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Registers(history, time.Minute).Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

func withVersion(o Op, version uint64) Op {
	o.Version = version
	return o
}

func TestHistoriesThatNoRegisterCanHave(t *testing.T) {
	tests := []struct {
		name    string
		says    string
		history []Op
	}{
		{"a read that is behind a write", "no order explains", []Op{write(0, 1, 2, "a", OK), read(1, 3, 4, "", 0)}},
		{"a read that is behind another's read", "no order explains", []Op{
			write(0, 1, 2, "a", OK), write(0, 3, 20, "b", OK), read(1, 4, 5, "b", 2), read(2, 6, 7, "a", 1)}},
		{"a client that reads backwards", "client 1 read backwards", []Op{
			write(0, 1, 2, "a", OK), write(0, 3, 20, "b", OK), read(1, 4, 5, "b", 2), read(1, 6, 7, "a", 1)}},
		{"a client that does not read its own write", "client 0 read backwards", []Op{cas(0, 1, 2, 0, "a", OK), read(0, 3, 4, "", 0)}},
		{"an answer from an older state", "answered from an older state", []Op{
			told(read(0, 1, 2, "", 0), "01A", 7), told(read(0, 3, 4, "", 0), "01A", 6)}},
		{"an answer from an older epoch", "answered from an older state", []Op{
			told(read(0, 1, 2, "", 0), "01B", 7), told(read(0, 3, 4, "", 0), "01A", 8)}},
		{"a lost write", "no order explains", []Op{
			write(0, 1, 2, "a", OK), write(1, 3, 4, "b", OK), read(1, 5, 6, "b", 1)}},
		{"a write that was done twice", "more than once", []Op{
			write(0, 1, 9, "a", OK), write(1, 2, 3, "b", OK), read(2, 4, 5, "a", 1), read(2, 6, 7, "b", 2), read(2, 10, 11, "a", 3)}},
		{"a write that was done twice, seen by the version alone", "no order explains", []Op{
			write(0, 1, 2, "a", OK), read(1, 3, 4, "a", 2)}},
		{"a refused cas that was done", "without effect was read", []Op{
			cas(0, 1, 2, 0, "a", Refused), read(1, 3, 4, "a", 1)}},
		{"a refusal without a reason", "no order explains", []Op{cas(0, 1, 2, 0, "a", Refused)}},
		{"a write that is not done and was read", "without effect was read", []Op{
			write(0, 1, 2, "a", NotDone), read(1, 3, 4, "a", 1)}},
		{"a cas that forgot its condition", "no order explains", []Op{
			write(0, 1, 2, "a", OK), write(0, 3, 4, "b", OK), cas(1, 5, 6, 1, "c", OK)}},
		{"two cas that both found the same version", "has two values", []Op{
			write(0, 1, 2, "a", OK), cas(1, 3, 9, 1, "b", OK), cas(2, 4, 8, 1, "c", OK)}},
		{"a value from nowhere", "nobody wrote", []Op{write(0, 1, 2, "a", OK), read(1, 3, 4, "z", 1)}},
		{"a value before its write", "before it was written", []Op{read(1, 1, 2, "a", 1), write(0, 3, 4, "a", OK)}},
		{"a stale value from nowhere", "nobody wrote", []Op{write(0, 1, 2, "a", OK), stale(1, 3, 4, "z", 1)}},
		{"a stale value that was never there", "without effect was read", []Op{write(0, 1, 2, "a", NotDone), stale(1, 3, 4, "a", 1)}},
		{"a stale version that cannot have been", "cannot have been", []Op{write(0, 1, 2, "a", OK), stale(1, 3, 4, "a", 2)}},
		{"an answer older than its own write", "no order explains", []Op{
			write(0, 1, 2, "a", OK), withVersion(write(0, 3, 4, "b", OK), 1), read(0, 5, 6, "b", 2)}},
		{"two writes of one value", "of no use", []Op{write(0, 1, 2, "a", OK), write(1, 3, 4, "a", OK)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := Registers(tt.history, time.Minute)
			if !strings.Contains(v.String(), tt.says) {
				t.Errorf("the verdict does not say %q: %s", tt.says, v)
			}
			if v.Err() == nil {
				t.Error("a history that cannot be has passed")
			}
		})
	}
}

func TestHistoryThatCannotBeDecidedDoesNotPass(t *testing.T) {
	history := []Op{write(0, 1, 2, "a", OK), read(1, 3, 4, "a", 1)}
	if err := Registers(history, time.Nanosecond).Err(); err == nil {
		t.Error("a history that was not decided has passed")
	}
}

func TestVerdictShowsHistoryAndPicture(t *testing.T) {
	history := []Op{write(0, 1, 2, "a", OK), read(1, 3, 4, "", 0)}
	v := Registers(history, time.Minute)
	if text := v.String(); !strings.Contains(text, "client 1: read k: nothing there") {
		t.Errorf("the verdict does not show the history:\n%s", text)
	}
	files, err := v.Save(t.TempDir())
	if err != nil || len(files) != 2 {
		t.Fatalf("saved %q: %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadLines[Op](bytes.NewReader(text))
	if err != nil || !reflect.DeepEqual(again, history) {
		t.Errorf("the saved history is %v (%v), want %v", again, err, history)
	}
	if picture, err := os.ReadFile(files[1]); err != nil || !bytes.Contains(picture, []byte("nothing there")) {
		t.Errorf("the picture does not show the operations (%v)", err)
	}
}

// TestSimulatedHistories checks histories of a simulated register with several
// clients, some of whose operations end unknown: each passes as it is, and
// each with one answer changed does not.
func TestSimulatedHistories(t *testing.T) {
	for seed := range uint64(40) {
		history := simulate(rand.New(rand.NewPCG(seed, 1)), 200)
		if err := Registers(history, time.Minute).Err(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		bad := slices.Clone(history)
		// The newest read at the end of all is given the answer of long ago.
		bad = append(bad, read(99, 1e9, 1e9+1, "v0", 1))
		if Registers(bad, time.Minute).Err() == nil {
			t.Fatalf("seed %d: a read of an old value has passed", seed)
		}
	}
}

// simulate runs clients against a register that is right.
func simulate(random *rand.Rand, n int) []Op {
	const clients = 6
	var s register
	var history []Op
	busy := make([]int64, clients)
	for i := range n {
		now := int64(i+1) * 10
		client := random.IntN(clients)
		if busy[client] > now {
			continue
		}
		// The operation takes effect now, and so between its call and its end.
		o := Op{Client: client, Call: max(busy[client]+1, now-random.Int64N(60)), Return: now + 1 + random.Int64N(60), Key: "k", Outcome: OK}
		busy[client] = o.Return
		value := fmt.Sprintf("v%d", i)
		switch kind := random.IntN(10); {
		case i == 0 || kind < 3:
			o.Kind, o.Value = Write, value
			s = register{value, s.version + 1}
			o.Version = s.version
		case kind < 6:
			o.Kind, o.Value, o.Expect = CAS, value, s.version-uint64(random.IntN(2))
			if o.Expect == s.version {
				s = register{value, s.version + 1}
				o.Version = s.version
			} else {
				o.Outcome = Refused
			}
		default:
			o.Kind, o.Value, o.Version = Read, s.value, s.version
		}
		if o.writes() && i > 0 && o.Outcome == OK && random.IntN(12) == 0 {
			o.Outcome, o.Version = Unknown, 0
		}
		history = append(history, o)
	}
	return history
}
