package check

import (
	"strings"
	"testing"
	"time"
)

// finding is a history's verdict and what it must say; "" means that nothing is
// wrong.
type finding struct {
	name    string
	verdict *Verdict
	says    string
}

func judge(t *testing.T, findings []finding) {
	t.Helper()
	for _, f := range findings {
		t.Run(f.name, func(t *testing.T) {
			switch err := f.verdict.Err(); {
			case f.says == "" && err != nil:
				t.Errorf("a history in which nothing is wrong: %v", err)
			case f.says != "" && (err == nil || !strings.Contains(f.verdict.String(), f.says)):
				t.Errorf("the verdict does not say %q: %s", f.says, f.verdict)
			}
		})
	}
}

func add(name string, outcome Outcome) Op { return Op{Kind: Add, Key: name, Outcome: outcome} }

func there(client int, names ...string) []Op {
	var ops []Op
	for _, name := range names {
		ops = append(ops, Op{Client: client, Kind: Read, Key: name, Version: 1, Outcome: OK})
	}
	return ops
}

func TestSets(t *testing.T) {
	two := []Op{add("a", OK), add("b", OK)}
	changed := there(0, "a", "b")
	changed[1].Version = 2
	judge(t, []finding{
		{"all there", Set(two, append(there(0, "a", "b"), there(1, "b", "a")...)), ""},
		{"unknown and not there", Set([]Op{add("a", OK), add("b", Unknown)}, there(0, "a")), ""},
		{"unknown and there", Set([]Op{add("a", OK), add("b", Unknown)}, there(0, "a", "b")), ""},
		{"unknown and there late", Set([]Op{add("a", OK), add("b", Unknown)}, append(there(0, "a"), there(1, "a", "b")...)), ""},
		{"not done", Set([]Op{add("a", OK), add("b", NotDone)}, there(0, "a")), ""},
		{"one is lost", Set(two, there(0, "a")), "b was acknowledged and is not there"},
		{"one is lost on one node", Set(two, append(there(0, "a", "b"), there(1, "a")...)), "b was acknowledged and is not there"},
		{"an unknown one that goes away", Set([]Op{add("a", OK), add("b", Unknown)}, append(there(0, "a", "b"), there(1, "a")...)), "b is gone"},
		{"not done and there", Set([]Op{add("a", OK), add("b", NotDone)}, there(0, "a", "b")), "certainly not added"},
		{"changed again", Set(two, changed), "added more than once"},
		{"refused", Set([]Op{add("a", OK), add("b", Refused)}, there(0, "a", "b")), "more than once"},
		{"there twice", Set(two, there(0, "a", "b", "b")), "twice"},
		{"from nowhere", Set(two, there(0, "a", "b", "c")), "nobody added it"},
		{"added twice", Set([]Op{add("a", OK), add("a", OK)}, there(0, "a")), "of no use"},
		{"never read", Set(two, nil), "nobody has read"},
	})
}

const second = int64(time.Second)

// life is an application's history from kinds, one second apart.
func life(kinds ...string) []AppEvent {
	var events []AppEvent
	n := uint64(0)
	for i, kind := range kinds {
		e := AppEvent{At: int64(i+1) * second, App: "a", Kind: kind}
		if kind == Wrote {
			n++
			e.N = n
		}
		events = append(events, e)
	}
	return events
}

func TestInstances(t *testing.T) {
	crashed := life(Started, Wrote, Stop, Ended, Exited)
	crashed[4].N = 3
	slow := life(Started, Wrote, Wrote, Stop, Ended, Exited)
	slow[1].At += second / 2
	jumps := life(Started, Wrote, Wrote, Stop, Ended, Exited)
	jumps[2].N = 3
	judge(t, []finding{
		{"a whole life", Instances(life(Started, Wrote, Wrote, Stop, Wrote, Ended, Exited), 2*time.Second), ""},
		{"nobody", Instances(nil, time.Second), "no application ran"},
		{"started again", Instances(life(Started, Wrote, Started, Wrote, Stop, Ended, Exited), 9*time.Second), "started again"},
		{"ended by itself", Instances(life(Started, Wrote, Ended, Stop, Exited), 9*time.Second), "nobody had asked for"},
		{"entrypoint ended by itself", Instances(life(Started, Wrote, Exited, Stop, Ended), 9*time.Second), "the entrypoint of a ended"},
		{"another exit code", Instances(crashed, 9*time.Second), "with code 3"},
		{"stood still", Instances(slow, 1400*time.Millisecond), "stood still for 1.5s before line 1"},
		{"a line is missing", Instances(jumps, 9*time.Second), "wrote line 3 after line 1"},
		{"something strange", Instances(life(Started, Wrote, Strange, Stop, Ended, Exited), 9*time.Second), "does not write"},
		{"never ended", Instances(life(Started, Wrote, Stop), 9*time.Second), "did not live from begin to end"},
	})
}

// lines is what is read of one instance, whose application begins with its
// second line: a number is a line, a negative one a gap of so many lines.
func lines(numbers ...int) []LogLine {
	var read []LogLine
	for _, n := range numbers {
		l := LogLine{Instance: "i", Seq: uint64(max(n, 0)), App: "a", N: uint64(max(n-1, 0))}
		if n < 0 {
			l = LogLine{Instance: "i", Gap: true, Lost: uint64(-n)}
		}
		read = append(read, l)
	}
	return read
}

// renumber gives one line another number of the application's.
func renumber(read []LogLine, line int, n uint64) []LogLine {
	read[line].N = n
	return read
}

func TestLogs(t *testing.T) {
	five := map[string]uint64{"a": 5}
	endless := LogLine{Instance: "i", Gap: true}
	strange := lines(1, 2, 3, 4, 5, 6)
	strange[2].Strange = "abd"
	judge(t, []finding{
		{"each once", Logs(lines(1, 2, 3, 4, 5, 6), five), ""},
		{"a gap", Logs(lines(1, 2, -2, 5, 6), five), ""},
		{"a gap in the beginning", Logs(lines(-3, 4, 5, 6), five), ""},
		{"a gap in the end", Logs(lines(1, 2, 3, -3), five), ""},
		{"a gap of unknown size", Logs(append(append(lines(1, 2), endless), lines(5, 6)...), five), ""},
		{"a gap of unknown size in the end", Logs(append(lines(1, 2), endless), five), ""},
		{"two gaps in a row", Logs(lines(1, 2, -1, -1, 5, 6), five), ""},
		{"a line is missing", Logs(lines(1, 2, 3, 5, 6), five), "no gap was told"},
		{"a gap is too small", Logs(lines(1, 2, -1, 5, 6), five), "no gap was told"},
		{"the last line is missing", Logs(lines(1, 2, 3, 4, 5), five), "the last that was read is 4"},
		{"a line twice", Logs(lines(1, 2, 3, 3, 4, 5, 6), five), "came again"},
		{"an old line again", Logs(lines(1, 2, 3, 4, 5, 6, 2), five), "came again"},
		{"a line in a gap comes after all", Logs(lines(1, 2, -2, 4, 5, 6), five), "came again"},
		{"a line that the application wrote never got a number", Logs(renumber(lines(1, 2, 3, 4, 5), 4, 5), five), "never read"},
		{"a line with two numbers", Logs(renumber(lines(1, 2, 3, 4, 5, 6, 7), 6, 5), five), "its line 5 came again"},
		{"more than was written", Logs(lines(1, 2, 3, 4, 5, 6, 7), five), "wrote only 5"},
		{"another text", Logs(strange, five), "not what its application wrote"},
		{"nothing", Logs(nil, five), "no line of a was read"},
	})
}

func TestEchoes(t *testing.T) {
	same := Echo{Session: 1, Size: 9, End: Same}
	judge(t, []finding{
		{"same", Echoes([]Echo{same, same}), ""},
		{"over", Echoes([]Echo{same, {Session: 1, End: Over, Text: "the node is gone"}}), ""},
		{"over without a word", Echoes([]Echo{same, {Session: 1, End: Over}}), "without a word"},
		{"wrong", Echoes([]Echo{same, {Session: 1, End: Wrong, Text: "x"}}), "something else came back"},
		{"silent", Echoes([]Echo{same, {Session: 1, End: Silent}}), "neither came back"},
		{"nothing", Echoes(nil), "nothing ever came back"},
		{"only ends", Echoes([]Echo{{Session: 1, End: Over, Text: "the node is gone"}}), "nothing ever came back"},
	})
}

// story is a job's history from words: "begin 1" is process 1, "succeeded 2" is
// a record of attempt 2. A nanosecond lies between two.
func story(words ...string) []JobEvent {
	events := []JobEvent{{Job: "j", Kind: Submitted, Outcome: OK}}
	for i, word := range words {
		kind, number, _ := strings.Cut(word, " ")
		e := JobEvent{Job: "j", At: int64(i + 1), Kind: kind, Process: number}
		switch kind {
		case "queued", "running", "succeeded", "failed":
			e.Kind, e.State, e.Process, e.Attempt = Observed, kind, "", uint32(len(number))
			if kind == "succeeded" || kind == "failed" {
				e.EndedAt = "noon"
			}
		}
		events = append(events, e)
	}
	return events
}

func TestJobs(t *testing.T) {
	later := story("begin 1", "finish 1", "succeeded I", "succeeded I", "output 1")
	later[4].EndedAt = "midnight"
	never := []JobEvent{{Job: "j", Kind: Submitted, Outcome: NotDone}}
	judge(t, []finding{
		{"once", Jobs(story("queued ", "begin 1", "running I", "work 1", "finish 1", "succeeded I", "output 1")), ""},
		{"a second attempt", Jobs(story("begin 1", "work 1", "running II", "begin 2", "finish 2", "succeeded II", "output 2")), ""},
		{"a second attempt after work that was done in vain", Jobs(story("begin 1", "finish 1", "begin 2", "finish 2", "succeeded II", "output 2")), ""},
		{"an attempt that never began", Jobs(story("begin 2", "finish 2", "succeeded II", "output 2")), ""},
		{"never submitted", Jobs(never), ""},
		{"perhaps submitted", Jobs([]JobEvent{{Job: "j", Kind: Submitted, Outcome: Unknown}}), ""},
		{"certainly not submitted", Jobs(append(never, story("begin 1")[1:]...)), "certainly not submitted"},
		{"does not end", Jobs(story("begin 1", "work 1", "running I")), "has not come to an end"},
		{"lost", Jobs(story()), "nobody could read it"},
		{"failed", Jobs(story("begin 1", "finish 1", "failed I", "output 1")), "ended failed"},
		{"never done", Jobs(story("succeeded I", "output 1")), "never finished its work"},
		{"half done", Jobs(story("begin 1", "work 1", "succeeded I", "output 1")), "never finished its work"},
		{"completed before the end of the work", Jobs(story("begin 1", "succeeded I", "finish 1", "output 1")), "before process 1 finished"},
		{"by nobody", Jobs(story("begin 1", "finish 1", "succeeded I")), "does not say by whom"},
		{"completed twice", Jobs(later), "completed more than once"},
		{"completed and running again", Jobs(story("begin 1", "finish 1", "succeeded I", "running II", "output 1")), "completed more than once"},
		{"back to an older attempt", Jobs(story("begin 1", "running II", "finish 1", "succeeded I", "output 1")), "went back from attempt 2 to 1"},
		{"two at a time", Jobs(story("begin 1", "begin 2", "work 1", "finish 2", "succeeded II", "output 2")), "two attempts worked at a time"},
		{"completed by a stale attempt", Jobs(story("begin 1", "finish 1", "begin 2", "succeeded II", "output 1")), "by a stale attempt"},
		{"two processes in one attempt", Jobs(story("begin 1", "begin 2", "finish 2", "succeeded I", "output 2")), "2 processes worked in 1 attempts"},
		{"work out of nowhere", Jobs(story("begin 1", "work 2", "finish 1", "succeeded I", "output 1")), "never began"},
	})
}

// state is a reading that begins at a time and takes one: pair "a" has had so
// many changes, pair "b" so many.
func state(call int64, a, b uint64) Snapshot {
	half := func(n uint64) Half { return Half{Value: string(rune('a' + n)), Version: n} }
	return Snapshot{Call: call, Return: call + 1, Pairs: map[string][2]Half{"a": {half(a), half(a)}, "b": {half(b), half(b)}}}
}

func old(s Snapshot) Snapshot {
	s.Stale = true
	return s
}

func TestSnapshots(t *testing.T) {
	torn := state(3, 2, 2)
	torn.Pairs["b"] = [2]Half{{"c", 2}, {"b", 1}}
	missing := state(3, 2, 2)
	missing.Pairs["b"] = [2]Half{{"c", 2}, {}}
	other := state(3, 1, 1)
	other.Pairs["b"] = [2]Half{{"x", 1}, {"x", 1}}
	young := state(1, 1, 1)
	delete(young.Pairs, "b")
	judge(t, []finding{
		{"one after the other", Snapshots([]Snapshot{state(1, 1, 1), state(3, 1, 1), state(5, 2, 1), state(7, 2, 3)}), ""},
		{"an old one, stale", Snapshots([]Snapshot{state(1, 1, 1), state(3, 2, 1), old(state(5, 1, 1))}), ""},
		{"two at a time", Snapshots([]Snapshot{state(2, 2, 1), state(1, 1, 1)}), ""},
		{"a pair that is not there yet", Snapshots([]Snapshot{young, state(3, 1, 1)}), ""},
		{"half a change", Snapshots([]Snapshot{state(1, 1, 1), torn}), "half a change of b"},
		{"half a pair", Snapshots([]Snapshot{state(1, 1, 1), missing}), "half a change of b"},
		{"half a change, stale", Snapshots([]Snapshot{state(1, 1, 1), old(torn)}), "half a change of b"},
		{"changes in another order", Snapshots([]Snapshot{state(1, 2, 1), state(1, 1, 2)}), "no history has both"},
		{"changes in another order, stale", Snapshots([]Snapshot{state(1, 3, 1), old(state(5, 1, 2))}), "no history has both"},
		{"two values at one version", Snapshots([]Snapshot{state(1, 1, 1), other}), "no history has both"},
		{"an old one", Snapshots([]Snapshot{state(1, 2, 1), state(3, 1, 1)}), "after client 0 had read one of 3"},
		{"one older than a stale one", Snapshots([]Snapshot{old(state(1, 2, 1)), state(3, 1, 1)}), "after client 0 had read one of 3"},
		{"nothing", Snapshots(nil), "nothing was read"},
	})
}
