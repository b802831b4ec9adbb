package entrypoint

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// With a good server the child has its configuration from the start, and need
// not wait long for it.
func TestFailOpenHealthy(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	p := start(t, launch{env: d.env(d.s.addr)}, built.child, "say", fmt.Sprint(childsCode))
	first := p.greets(1)
	if first.text != d.greeting || first.after > startLimit/2 {
		t.Errorf("the child was started after %s with %q", first.after, first.text)
	}
	p.prints("ready")
	p.signal(15)
	if got := p.code(); got != childsCode {
		t.Errorf("exit status %d", got)
	}
	p.intact()
	t.Logf("%-36s child after %s, with its configuration", "healthy server", first.after.Round(time.Millisecond))
}

func TestFailOpenNotWantedWhereConfigurationIsRequired(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	n := newNetwork(t, "")
	tries := watch(t, n, connections, 1)
	p := start(t, launch{network: n, env: d.env("127.0.0.1"+port, "WAYPOINT_ENTRYPOINT_REQUIRE_CONFIG=1")},
		built.child, "say", fmt.Sprint(childsCode))
	tries.await(p)
	p.until("a try beyond the time in which others start", func() bool {
		at := tries.times()
		return at[len(at)-1].Sub(p.began) > startLimit
	})
	if got := p.out.String(); got != "" {
		t.Errorf("the child was started without its configuration: %q", got)
	}
	open(t, n.listen("127.0.0.1"+port), forward(d.s.addr, 0))
	first := p.greets(1)
	if first.text != d.greeting {
		t.Errorf("the child was started with %q", first.text)
	}
	p.prints("ready")
	p.signal(15)
	if got := p.code(); got != childsCode {
		t.Errorf("exit status %d", got)
	}
	p.intact()
	t.Logf("%-36s child after %s, with its configuration, %d tries", "configuration required",
		first.after.Round(time.Millisecond), len(tries.times()))
}

func TestFailOpenDisabledNeverConnects(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	n := newNetwork(t, "")
	open(t, n.listen("127.0.0.1"+port), forward(d.s.addr, 0))
	p := start(t, launch{network: n, env: d.env("127.0.0.1"+port, "WAYPOINT_ENTRYPOINT_DISABLE=1")},
		built.child, "say", fmt.Sprint(childsCode))
	first := p.greets(1)
	if first.text != "" || first.after > startLimit/2 {
		t.Errorf("the child was started after %s with %q", first.after, first.text)
	}
	p.prints("ready")
	p.signal(15)
	if got := p.code(); got != childsCode {
		t.Errorf("exit status %d", got)
	}
	p.intact()
	if asked := n.counter(connections); asked != 0 {
		t.Errorf("%d connections were asked for", asked)
	}
	t.Logf("%-36s child after %s, no connection", "disabled", first.after.Round(time.Millisecond))
}

// Many that fail together do not come back together.
func TestFailOpenTriesAreNotSynchronous(t *testing.T) {
	t.Parallel()
	const programs = 6
	const spread = 100 * time.Millisecond // over all gaps together; without jitter it is a few milliseconds
	d := deploy(t)
	var started []*program
	var watched []*tries
	for range programs {
		n := newNetwork(t, "")
		watched = append(watched, watch(t, n, connections, 1))
		started = append(started, start(t, launch{network: n, env: d.env("127.0.0.1" + port)}, "sleep", "60"))
	}
	gaps := make([][]time.Duration, programs)
	for i, tries := range watched {
		tries.await(started[i])
		gaps[i] = tries.gaps()
	}
	var total time.Duration
	for i := range enoughTries {
		var each []time.Duration
		for _, g := range gaps {
			each = append(each, g[i])
		}
		total += slices.Max(each) - slices.Min(each)
		t.Logf("gap %d: %s", i+1, each)
	}
	if total < spread {
		t.Errorf("the gaps of %d entrypoints differ by only %s", programs, total)
	}
}
