package collector

import (
	"context"
	"errors"
	"testing"
)

// looks adapts the pace as often as told, each time with so many bytes
// allocated since the last and nothing to give back.
func looks(p *Pace, times int, use, rate uint64) {
	for range times {
		p.adapt(use, p.before+rate, 0)
	}
}

func TestMemoryIsGivenBackWhenCalmSetsIn(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		what       string
		use, spare uint64
		want       int
	}{
		{"much is spare", 100 * mib, 50 * mib, 1},
		{"little is spare", 10 * mib, 4 * mib, 0},
		{"it is a small part", 1000 * mib, 100 * mib, 0},
	} {
		released := 0
		p := &Pace{set: func(int) {}, release: func() { released++ }, before: 1}
		p.adapt(c.use, p.before+100*mib, c.spare)
		if released != 0 {
			t.Errorf("%s: it was given back during work", c.what)
		}
		for range 2 * calmLooks {
			p.adapt(c.use, p.before+mib, c.spare)
		}
		if released != c.want {
			t.Errorf("%s: it was given back %d times, want %d", c.what, released, c.want)
		}
	}
}

func TestRoomFollowsWhatTheProcessDoes(t *testing.T) {
	const mib = 1 << 20
	changes := 0
	p := &Pace{set: func(int) { changes++ }, percent: whileStarting, before: 1, calm: calmLooks, same: growLooks}
	for _, step := range []struct {
		what      string
		times     int
		use, rate uint64
		want      int
	}{
		{"it idles with little", 1, 8 * mib, mib, 50},
		{"it begins to work", 1, 8 * mib, 100 * mib, 800},
		{"a short pause changes nothing", calmLooks - 1, 8 * mib, mib, 800},
		{"it idles again", 1, 8 * mib, mib, 50},
		{"it works and what it uses grows", 1, 24 * mib, 100 * mib, 66},
		{"it grows on", 1, 100 * mib, 100 * mib, growPart},
		{"it grows no more", growLooks, 100 * mib, 100 * mib, hardPart},
		{"what it uses falls", 1, 90 * mib, 100 * mib, hardPart},
		{"what it uses swings", 1, 105 * mib, 100 * mib, hardPart},
		{"it idles with much", calmLooks, 200 * mib, mib, calmPart},
		{"it works with much", 1, 200 * mib, 20 * mib, hardPart},
		{"it works with next to nothing", 1, mib, 20 * mib, most},
	} {
		looks(p, step.times, step.use, step.rate)
		if p.percent != step.want {
			t.Errorf("%s: %d %%, want %d", step.what, p.percent, step.want)
		}
	}
	before := changes
	looks(p, 20, mib, 20*mib)
	if changes != before {
		t.Errorf("nothing is new, but the pace was set %d times", changes-before)
	}
}

func TestMeasuresAreThere(t *testing.T) {
	if _, allocated, _ := measure(); allocated == 0 {
		t.Error("nothing was ever allocated")
	}
}

func TestRunWaitsForTheStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := &Pace{set: func(int) { t.Error("the pace was set before the start") }}
	if err := p.Run(ctx, make(chan struct{})); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
