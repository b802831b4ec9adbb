package cluster

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypoint/internal/ids"
	"waypoint/internal/wait"
)

// stopwatch is a cluster's time without a cluster.
type stopwatch struct {
	*clusterTime
	last  int64
	leads bool
}

func (s *stopwatch) pass(to time.Duration) time.Duration {
	s.advance(to, s.last, s.leads)
	return time.Duration(s.value)
}

func TestTheTimeGoesOnFromTheNewestEntry(t *testing.T) {
	t.Parallel()
	s := &stopwatch{clusterTime: &clusterTime{}, last: int64(time.Hour)}
	for _, step := range []struct {
		what  string
		set   func()
		to    time.Duration
		value time.Duration
	}{
		{"the first look", func() {}, time.Second, time.Hour},
		{"nothing new", func() {}, 11 * time.Second, time.Hour + 10*time.Second},
		{"an entry that is ahead", func() { s.last = int64(2 * time.Hour) }, 12 * time.Second, 2 * time.Hour},
		{"an entry that is behind", func() { s.last += int64(time.Second) }, 20 * time.Second, 2*time.Hour + time.Second},
		{"leading, clocks not compared", func() { s.leads = true }, 30 * time.Second, 2*time.Hour + 11*time.Second},
		{"its own entry", func() { s.last += int64(2 * time.Second) }, 31 * time.Second, 2*time.Hour + 12*time.Second},
		{"the clocks are ahead", func() { s.agree(int64(3 * time.Hour)) }, 32 * time.Second, 3*time.Hour + 32*time.Second},
		{"the clocks are behind", func() { s.agree(int64(time.Hour)) }, 42 * time.Second, 3*time.Hour + 41*time.Second},
		{"the clocks are a little behind", func() { s.agree(int64(3*time.Hour - time.Second)) }, 52 * time.Second, 3*time.Hour + 51*time.Second},
		{"the clocks are reached", func() {}, 62 * time.Second, 3*time.Hour + 61*time.Second},
		{"no time has passed", func() {}, 62 * time.Second, 3*time.Hour + 61*time.Second},
	} {
		step.set()
		if got := s.pass(step.to); got != step.value {
			t.Errorf("%s: %v, want %v", step.what, got, step.value)
		}
	}
}

func TestOneClockInThreeDoesNotCount(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		readings []int64
		want     int64
	}{
		{[]int64{5}, 5},
		{[]int64{9, 5}, 5},
		{[]int64{5, 9}, 5},
		{[]int64{5, 6, 999}, 6},
		{[]int64{-999, 6, 5}, 5},
		{[]int64{1, 2, 3, 4}, 2},
		{[]int64{-9, 5, 999, 6, 7}, 6},
	} {
		var readings []reading
		for _, at := range tt.readings {
			readings = append(readings, reading{at: at})
		}
		if got := middle(readings); got != tt.want {
			t.Errorf("of %v: %d, want %d", tt.readings, got, tt.want)
		}
	}
}

// clocks are those of a cluster's nodes; each can be set wrong at any time.
type clocks struct {
	mu  sync.Mutex
	off map[string]*atomic.Int64
}

func (c *clocks) of(name string) *atomic.Int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off[name] == nil {
		c.off[name] = new(atomic.Int64)
	}
	return c.off[name]
}

func (c *clocks) set(m *member, off time.Duration) { c.of(m.cfg.Name).Store(int64(off)) }

func (c *clocks) attach(cfg *Config) {
	cfg.Tuning.Clocks = 100 * time.Millisecond
	off := c.of(cfg.Name)
	cfg.clock = func() time.Time { return time.Now().Round(0).Add(time.Duration(off.Load())) }
}

// stamped writes through m and returns how far the entry's time is off.
func (m *member) stamped(name string) time.Duration {
	m.t.Helper()
	cmd := m.project(name)
	cmd.RequestId = ids.At(m.Now()) // as a client does
	if _, err := m.Apply(m.t.Context(), cmd); err != nil {
		m.t.Fatalf("write through %s: %v", m.cfg.Name, err)
	}
	return time.Until(m.store.Read().Project(name).GetUpdatedAt().AsTime())
}

func (m *member) wantStamp(name string, want time.Duration) {
	m.t.Helper()
	if off := m.stamped(name); (off - want).Abs() > time.Minute {
		m.t.Errorf("an entry's time is off by %v, want %v", off, want)
	}
}

// round waits until the leader has compared the clocks after they were set.
func (m *member) round() {
	m.t.Helper()
	for range 2 {
		m.time.agree(0)
		wait.For(m.t, patience, "the clocks to be compared", func() bool {
			m.time.mu.Lock()
			defer m.time.mu.Unlock()
			return m.time.agreed != 0
		})
	}
}

func TestALeadersWrongClockDoesNotCount(t *testing.T) {
	t.Parallel()
	c := &clocks{off: map[string]*atomic.Int64{}}
	all := threeWith(t, c.attach)
	for i, off := range []time.Duration{2 * time.Hour, -2 * time.Hour, 400 * 24 * time.Hour} {
		lead, rest := leader(t, all)
		c.set(lead, off)
		lead.round()
		for j, m := range all {
			m.wantStamp(string(rune('a'+i))+string(rune('a'+j)), 0)
		}
		// Who led with a right clock follows one with a wrong one, and back.
		if err := lead.leadership.transfer(); err != nil {
			t.Fatal(err)
		}
		wait.For(t, patience, "another to lead", func() bool {
			return rest[0].leadership.leading() != nil || rest[1].leadership.leading() != nil
		})
		for j, m := range all {
			m.wantStamp(string(rune('a'+i))+"2"+string(rune('a'+j)), 0)
		}
		c.set(lead, 0)
	}
}

func TestANodeThatStartsWithAWrongClockMayLead(t *testing.T) {
	t.Parallel()
	c := &clocks{off: map[string]*atomic.Int64{}}
	all := threeWith(t, c.attach)
	all[0].wantStamp("before", 0)
	for _, m := range all {
		m.stop()
	}
	c.set(all[1], 3*time.Hour)
	for i, m := range all {
		cfg := m.cfg
		cfg.Name, cfg.ListenAddr, cfg.GossipAddr = "", m.Addr(), m.gossip.Addr()
		all[i] = run(t, cfg)
		all[i].cfg.Name = m.cfg.Name
	}
	for _, m := range all {
		m.ready()
	}
	for _, m := range all {
		if m != all[1] && m.leadership.leading() != nil {
			_ = m.leadership.transfer()
		}
	}
	for i, m := range all {
		m.wantStamp("after"+string(rune('a'+i)), 0)
	}
}

// All clocks go forward and back again, as a wrong time server makes them: the
// time must not stand still until they are where they were, for then nothing
// that waits for a time to pass would go on, and nothing would be forgotten.
func TestTheTimeGoesOnAfterAllClocksWereAhead(t *testing.T) {
	t.Parallel()
	c := &clocks{off: map[string]*atomic.Int64{}}
	all := threeWith(t, c.attach)
	lead, rest := leader(t, all)
	step := func(off time.Duration) {
		for _, m := range all {
			c.set(m, off)
		}
		lead.round()
	}
	step(2 * time.Hour)
	for _, m := range rest { // without a write of anybody
		wait.For(t, patience, m.cfg.Name+" to know", func() bool { return time.Until(m.Now()) > time.Hour })
	}
	lead.wantStamp("ahead", 2*time.Hour)
	rest[0].wantStamp("ahead too", 2*time.Hour)
	step(0)
	lead.wantStamp("back", 2*time.Hour)
	for _, m := range all {
		before := m.Now()
		began := time.Now()
		wait.For(t, patience, "the time to pass", func() bool { return m.Now().Sub(before) > 200*time.Millisecond })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v for 200 ms to pass", took)
		}
		m.wantStamp("later "+m.cfg.Name, 2*time.Hour)
	}
}

func TestTheOnlyNodesClockCounts(t *testing.T) {
	t.Parallel()
	c := &clocks{off: map[string]*atomic.Int64{}}
	cfg := config(t, "a")
	c.attach(&cfg)
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	a := run(t, cfg).ready()
	c.set(a, time.Hour)
	a.round()
	a.wantStamp("ahead", time.Hour)
}
