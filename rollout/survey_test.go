package rollout

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/state"
)

const (
	isAttached = deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED
	isDetached = deploymentpb.InstanceState_INSTANCE_STATE_DETACHED
	isLost     = deploymentpb.InstanceState_INSTANCE_STATE_LOST
	isExited   = deploymentpb.InstanceState_INSTANCE_STATE_EXITED
)

var (
	testTiming = Timing{Settle: 3 * time.Second, FirstHold: 10 * time.Second, Patience: time.Minute}
	testNow    = time.Unix(1_700_000_000, 0)
)

func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(testNow.Add(-d)) }

// row is an instance that has run for an hour with "old" and wants "new".
func row(changes ...func(*deploymentpb.Instance)) *deploymentpb.Instance {
	i := &deploymentpb.Instance{
		State: isAttached, ChildPid: 7, ChildStarts: 1, ChildConfig: []byte("old"), RestartWanted: []byte("new"),
		StartedAt: ago(time.Hour), ChildSince: ago(time.Hour), ChangedAt: ago(time.Hour),
	}
	for _, change := range changes {
		change(i)
	}
	return i
}

func turn(config string, starts uint32, before time.Duration) func(*deploymentpb.Instance) {
	return func(i *deploymentpb.Instance) {
		i.Turn = &deploymentpb.RestartTurn{Starts: starts, Config: []byte(config), At: ago(before)}
	}
}

// restarted has used its turn for a configuration, which came that long ago.
func restarted(config string, before time.Duration) func(*deploymentpb.Instance) {
	return func(i *deploymentpb.Instance) {
		turn(config, 1, before)(i)
		i.ChildStarts, i.ChildConfig, i.RestartWanted, i.ChildSince = 2, []byte(config), nil, ago(before)
	}
}

func started(before time.Duration) func(*deploymentpb.Instance) {
	return func(i *deploymentpb.Instance) { i.StartedAt, i.ChildSince = ago(before), ago(before) }
}

func wanting(config string) func(*deploymentpb.Instance) {
	return func(i *deploymentpb.Instance) { i.RestartWanted = []byte(config) }
}

func in(s deploymentpb.InstanceState, before time.Duration) func(*deploymentpb.Instance) {
	return func(i *deploymentpb.Instance) {
		i.State, i.ChangedAt = s, ago(before)
		if s == isExited {
			i.ChildPid, i.RestartWanted = 0, nil
		}
	}
}

func childless(before time.Duration) func(*deploymentpb.Instance) {
	return func(i *deploymentpb.Instance) { i.ChildPid, i.ChildSince = 0, ago(before) }
}

func asked(i *deploymentpb.Instance) { i.AskedToEnd = true }

// newcomer was started with "new".
func newcomer(before time.Duration) func(*deploymentpb.Instance) {
	return func(i *deploymentpb.Instance) {
		started(before)(i)
		i.ChildConfig, i.RestartWanted = []byte("new"), nil
	}
}

func TestTurnsFollowFromTheRows(t *testing.T) {
	type rows = []*deploymentpb.Instance
	for name, c := range map[string]struct {
		rows   rows
		budget string
		turns  int
		next   time.Duration
		halted bool
	}{
		"all want":                    {rows{row(), row(), row()}, "2", 2, 0, false},
		"one instance":                {rows{row()}, "25%", 1, 0, false},
		"one that has just begun":     {rows{row(started(time.Second))}, "25%", 1, 2 * time.Second, false},
		"all have just begun":         {rows{row(started(time.Second)), row(started(2 * time.Second))}, "1", 0, time.Second, false},
		"one of two has just begun":   {rows{row(started(time.Second)), row()}, "1", 0, 2 * time.Second, false},
		"one that has begun is last":  {rows{row(started(time.Second)), row(), row()}, "2", 1, 2 * time.Second, false},
		"all but one have theirs":     {rows{row(started(time.Second)), row()}, "2", 2, 2 * time.Second, false},
		"one is on its way":           {rows{row(turn("new", 1, time.Second)), row(), row()}, "2", 1, 59 * time.Second, false},
		"on its way, no child":        {rows{row(turn("new", 1, time.Second), childless(0)), row(), row()}, "1", 0, time.Minute, false},
		"one is back, not settled":    {rows{row(restarted("new", time.Second)), row(), row()}, "1", 0, 9 * time.Second, false},
		"one is back, not held":       {rows{row(restarted("new", 3*time.Second)), row(), row()}, "1", 0, 7 * time.Second, false},
		"one is back and has held":    {rows{row(restarted("new", 10*time.Second)), row(), row()}, "1", 1, 0, false},
		"another one has held":        {rows{row(newcomer(10 * time.Second)), row(restarted("new", 3*time.Second)), row(), row()}, "1", 1, 0, false},
		"another one, not settled":    {rows{row(newcomer(10 * time.Second)), row(restarted("new", time.Second)), row(), row()}, "1", 0, 2 * time.Second, false},
		"the one that held is away":   {rows{row(newcomer(time.Hour), in(isExited, 0)), row(restarted("new", 3*time.Second)), row(), row()}, "1", 0, 7 * time.Second, false},
		"back with an older one":      {rows{row(restarted("other", 3*time.Second)), row(), row()}, "1", 1, 0, false},
		"turn not wanted any more":    {rows{row(turn("new", 1, time.Second), wanting("")), row(), row()}, "1", 1, 0, false},
		"turn for an older one":       {rows{row(turn("other", 1, time.Second)), row()}, "1", 1, 59 * time.Second, false},
		"one is lost with its node":   {rows{row(in(isLost, time.Second)), row(), row()}, "1", 0, 59 * time.Second, false},
		"one is detached":             {rows{row(in(isDetached, time.Second)), row(), row()}, "2", 1, 59 * time.Second, false},
		"one is gone":                 {rows{row(in(isDetached, time.Minute)), row(), row()}, "1", 1, 0, false},
		"one has ended":               {rows{row(in(isExited, 0)), row(), row()}, "1", 1, 0, false},
		"ended ones do not count":     {rows{row(in(isExited, 0)), row(in(isExited, 0)), row(), row()}, "50%", 1, 0, false},
		"one has no child":            {rows{row(childless(time.Second)), row()}, "1", 0, 59 * time.Second, false},
		"one never had a child":       {rows{row(childless(time.Minute)), row()}, "1", 1, 0, false},
		"broken, ended":               {rows{row(restarted("new", 9*time.Second), in(isExited, time.Second)), row(), row()}, "1", 0, 0, true},
		"was asked to end":            {rows{row(restarted("new", 9*time.Second), in(isExited, time.Second), asked), row(), row()}, "1", 1, 0, false},
		"broken, not used":            {rows{row(turn("new", 1, 9*time.Second), in(isExited, time.Second)), row(), row()}, "1", 0, 0, true},
		"broken, detached long ago":   {rows{row(restarted("new", 2*time.Minute), in(isDetached, 70*time.Second)), row(), row()}, "1", 0, 0, true},
		"broken, without a child":     {rows{row(restarted("new", 70*time.Second), wanting("new"), childless(time.Minute)), row(), row()}, "1", 0, 0, true},
		"broken, others may go on":    {rows{row(restarted("new", 9*time.Second), in(isExited, time.Second)), row(), row()}, "2", 1, 0, false},
		"broken by an older one":      {rows{row(restarted("other", 9*time.Second), in(isExited, time.Second)), row(), row()}, "1", 1, 0, false},
		"broken counts in the size":   {rows{row(restarted("new", 9*time.Second), in(isExited, 0)), row(), row(), row()}, "50%", 1, 0, false},
		"ended long after its turn":   {rows{row(restarted("new", time.Hour), in(isExited, 0)), row(), row()}, "1", 1, 0, false},
		"turn not used in time":       {rows{row(turn("new", 1, time.Minute)), row(), row()}, "1", 0, 0, true},
		"not used in time, older one": {rows{row(turn("other", 1, time.Minute)), row(), row()}, "1", 1, 0, false},
		"made up for":                 {rows{row(restarted("new", 2*time.Minute), in(isExited, 100*time.Second)), row(newcomer(time.Minute)), row()}, "1", 1, 0, false},
		"made up for, too young":      {rows{row(restarted("new", 2*time.Minute), in(isExited, 100*time.Second)), row(newcomer(50 * time.Second)), row()}, "1", 0, 10 * time.Second, true},
		"began before it broke":       {rows{row(restarted("new", 2*time.Minute), in(isExited, 100*time.Second)), row(newcomer(3 * time.Minute)), row()}, "1", 0, 0, true},
		"newcomers do not add up":     {rows{row(restarted("new", 9*time.Second), in(isExited, 8*time.Second)), row(newcomer(7 * time.Second)), row(), row()}, "50%", 0, 53 * time.Second, true},
		"newer one wanted by some":    {rows{row(), row(wanting("newer"))}, "2", 2, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := take(c.rows, testNow, testTiming)
			turns := s.turns(limitOf(c.budget))
			if len(turns) != c.turns || s.next != c.next || s.halted(len(turns)) != c.halted {
				t.Errorf("%d turns, look again after %v, halted %v; want %d, %v, %v",
					len(turns), s.next, s.halted(len(turns)), c.turns, c.next, c.halted)
			}
		})
	}
}

func limitOf(text string) func(int) int {
	return func(size int) int { return state.MaxUnavailable(&configpb.Policy{MaxUnavailable: text}, size) }
}

func TestTheOldestComeFirst(t *testing.T) {
	var rows []*deploymentpb.Instance
	for _, seconds := range []int{1, 50, 70, 60, 2, 70} {
		i := row(started(time.Duration(seconds) * time.Second))
		i.Id = fmt.Sprint(len(rows), " ", seconds)
		rows = append(rows, i)
	}
	for limit, want := range map[string]string{"3": "[2 70]", "4": "[2 70 5 70]", "6": "[2 70 5 70 3 60 1 50 0 1 4 2]"} {
		var got []string
		for _, i := range take(rows, testNow, testTiming).turns(limitOf(limit)) {
			got = append(got, i.GetId())
		}
		if fmt.Sprint(got) != want {
			t.Errorf("at most %s: %v, want %s", limit, got, want)
		}
	}
}

// TestItIsToldThatNoneCanRestart lets instances disappear again and again.
func TestItIsToldThatNoneCanRestart(t *testing.T) {
	var log bytes.Buffer
	r := New(Config{Timing: testTiming, Logger: hclog.New(&hclog.LoggerOptions{Output: &log})})
	r.told = map[string]notice{}
	look := func(at time.Duration, config string, away deploymentpb.InstanceState) (told int, next time.Duration) {
		now := testNow.Add(at)
		lost := row(in(away, 0))
		lost.ChangedAt = timestamppb.New(now)
		s := take([]*deploymentpb.Instance{lost, row(wanting(config)), row(wanting(config))}, now, testTiming)
		r.tell(&deploymentpb.Deployment{Id: "d"}, s, len(s.turns(limitOf("1"))))
		return strings.Count(log.String(), "no instance can get its turn"), s.next
	}
	for _, c := range []struct {
		at     time.Duration
		config string
		away   deploymentpb.InstanceState
		told   int
		next   time.Duration
	}{
		{0, "new", isDetached, 0, time.Minute},
		{50 * time.Second, "new", isDetached, 0, 10 * time.Second},
		{60 * time.Second, "new", isDetached, 1, time.Minute},
		{70 * time.Second, "new", isDetached, 1, time.Minute},
		{80 * time.Second, "new", isExited, 1, 0}, // one gets its turn
		{90 * time.Second, "new", isDetached, 1, time.Minute},
		{200 * time.Second, "new", isDetached, 1, time.Minute},
		{210 * time.Second, "newer", isExited, 1, 0},
		{220 * time.Second, "newer", isDetached, 1, time.Minute},
		{279 * time.Second, "newer", isDetached, 1, time.Second},
		{280 * time.Second, "newer", isDetached, 2, time.Minute},
	} {
		if told, next := look(c.at, c.config, c.away); told != c.told || next != c.next {
			t.Errorf("after %v it has been told %d times, look again after %v; want %d and %v", c.at, told, next, c.told, c.next)
		}
	}
	if !strings.Contains(log.String(), "away=1") || !strings.Contains(log.String(), "config policy -max-unavailable") {
		t.Errorf("the log says %s", log.String())
	}
}

// world is instances that restart when it is their turn, in a time of its own.
type world struct {
	*rapid.T
	now  time.Time
	size int
	rows []*deploymentpb.Instance
	acts []act       // by instance
	lost map[int]int // by step: who loses its home node
	late bool        // "bad" ends all that take it up, but not at once
	step int
}

// act is what an instance is about to do by itself.
type act struct {
	at   time.Time // zero: nothing
	do   func()
	last time.Time // when its newest restart began
}

func newWorld(t *rapid.T) *world {
	w := &world{T: t, now: testNow, size: rapid.IntRange(1, 30).Draw(t, "size")}
	for i := range w.size {
		r := row(wanting("bad"))
		r.Id = fmt.Sprint("i", i)
		r.ChildSince = ago(time.Duration(rapid.IntRange(0, 5).Draw(t, "age")) * time.Second)
		w.rows = append(w.rows, r)
	}
	w.acts = make([]act, w.size)
	w.lost, w.late = map[int]int{}, rapid.Bool().Draw(t, "late")
	for range rapid.IntRange(0, 10).Draw(t, "losses") {
		w.lost[rapid.IntRange(0, 300).Draw(t, "step")] = rapid.IntRange(0, w.size-1).Draw(t, "who")
	}
	return w
}

func (w *world) stamp() *timestamppb.Timestamp { return timestamppb.New(w.now) }

func (w *world) later(i int, limit int, do func()) {
	w.acts[i].at, w.acts[i].do = w.now.Add(time.Duration(rapid.IntRange(0, limit).Draw(w.T, "later"))*100*time.Millisecond), do
}

// lives is how long those live at most that end, in tenths of a second.
func (w *world) lives() int {
	if w.late {
		return int(testTiming.FirstHold.Milliseconds()/100) - 1
	}
	return 20
}

// grant begins a restart, which ends with a child or, with "bad", maybe not.
func (w *world) grant(i int) {
	r := w.rows[i]
	r.Turn = &deploymentpb.RestartTurn{Starts: r.ChildStarts, Config: r.RestartWanted, At: w.stamp()}
	w.acts[i].last = w.now
	w.later(i, 50, func() {
		r.ChildPid, r.ChildSince = 0, w.stamp()
		w.later(i, 50, func() {
			fails := string(r.RestartWanted) == "bad" && (w.late || rapid.IntRange(0, 4).Draw(w.T, "fails") == 0)
			r.ChildPid, r.ChildSince, r.ChildConfig, r.RestartWanted = 8, w.stamp(), r.RestartWanted, nil
			r.ChildStarts++
			if fails {
				w.later(i, w.lives(), func() { r.State, r.ChangedAt, r.ChildPid = isExited, w.stamp(), 0 })
			}
		})
	})
}

// lose takes an instance's home node away for a while.
func (w *world) lose(i int) {
	r := w.rows[i]
	r.State, r.ChangedAt = isLost, w.stamp()
	w.later(i, 100, func() { r.State, r.ChangedAt = isAttached, w.stamp() })
}

// restarting counts the instances that have begun a restart and have not run for
// Settle since, broken ones included.
func (w *world) restarting() int {
	n := 0
	for i, r := range w.rows {
		begun := !w.acts[i].last.IsZero()
		if begun && (r.GetChildPid() == 0 || r.RestartDue() || w.now.Sub(r.GetChildSince().AsTime()) < testTiming.Settle) {
			n++
		}
	}
	return n
}

// settle lets time pass until nothing has happened for a while.
func (w *world) settle(limit func(int) int) {
	for idle := 0; idle < 150; idle++ {
		s := take(w.rows, w.now, testTiming)
		for _, r := range s.turns(limit) {
			idle = 0
			for i := range w.rows {
				if w.rows[i] == r {
					w.grant(i)
				}
			}
		}
		if got := w.restarting(); got > limit(w.size) {
			w.Fatalf("%d of %d restart at a time, at most %d may", got, w.size, limit(w.size))
		}
		w.now, w.step = w.now.Add(100*time.Millisecond), w.step+1
		if i, ok := w.lost[w.step]; ok && w.acts[i].at.IsZero() && w.rows[i].GetState() == isAttached {
			idle = 0
			w.lose(i)
		}
		for i := range w.acts {
			if a := w.acts[i]; !a.at.IsZero() && !a.at.After(w.now) {
				idle, w.acts[i].at = 0, time.Time{}
				a.do()
			}
		}
	}
}

// Whatever happens, no more than allowed restart at a time. A configuration that
// ends some of those that take it up soon, or all of them within FirstHold, ends
// no more than that; the next one reaches all.
func TestNeverTooManyRestartAtATime(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(r)
		limit := limitOf(rapid.SampledFrom([]string{"25%", "1", "3", "50%"}).Draw(r, "limit"))
		w.settle(limit)
		ended, waiting := 0, 0
		for _, i := range w.rows {
			if i.GetState() == isExited {
				ended++
			} else if len(i.GetRestartWanted()) > 0 {
				waiting++
			}
		}
		if ended > limit(w.size) || waiting > 0 && ended < limit(w.size) {
			r.Fatalf("of %d, %d have ended and %d wait; %d may be away", w.size, ended, waiting, limit(w.size))
		}
		for i, row := range w.rows {
			if w.acts[i].last = (time.Time{}); row.GetState() != isExited {
				row.RestartWanted = []byte("good")
			}
		}
		w.settle(limit)
		for _, i := range w.rows {
			if i.GetState() != isExited && string(i.GetChildConfig()) != "good" {
				r.Fatalf("left behind: %v", i)
			}
		}
	})
}

// BenchmarkSurvey is one look at a large deployment.
func BenchmarkSurvey(b *testing.B) {
	rows := make([]*deploymentpb.Instance, 10_000)
	for i := range rows {
		rows[i] = row()
	}
	for b.Loop() {
		take(rows, testNow, testTiming).turns(limitOf("25%"))
	}
}
