package entrypoint

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/api/entrypointpb"
	"waypoint/errs"
	"waypoint/internal/wait"
)

// A child that says how it was started and then stays, until TERM.
const loyal = `trap "exit 0" TERM; echo "run $$ A=$A B=$B IMAGE=$FROM_IMAGE."; while :; do sleep 60 & wait $!; done`

// runs are the lines that loyal has written.
func (p *program) runs() []string {
	var runs []string
	for line := range strings.Lines(p.out.String()) {
		if strings.HasPrefix(line, "run ") {
			runs = append(runs, strings.TrimSpace(line))
		}
	}
	return runs
}

// phase is one step of a test of the supervisor: what happens, and how the
// child was started after it.
type phaseStep struct {
	what string
	do   func()
	runs int    // of the child so far
	last string // what the last one has in its environment
}

func TestConfigurationIsTheChildsEnvironment(t *testing.T) {
	h := homes(t, 2)
	for _, node := range h {
		node.set(func() { node.config = config(1, "A", "1") })
	}
	p := start(t, options{servers: h}, "sh", "-c", loyal)
	attached := func() *home {
		var found *home
		wait.For(t, patience, "an attach", func() bool {
			for _, node := range h {
				node.set(func() {
					if len(node.attached) > 0 {
						found = node
					}
				})
			}
			return found != nil
		})
		return found
	}
	send := func(index uint64, kv ...string) func() {
		return func() {
			for _, node := range h {
				node.configure(index, kv...)
			}
		}
	}
	for _, step := range []phaseStep{
		{"start with configuration", func() {}, 1, "A=1 B= IMAGE=image."},
		{"a change restarts", send(2, "A", "2"), 2, "A=2 B= IMAGE=image."},
		{"configuration wins over the image", send(3, "A", "2", "FROM_IMAGE", "config"), 3, "A=2 B= IMAGE=config."},
		{"a variable goes, the image's is back", send(4, "B", "x y"), 4, "A= B=x y IMAGE=image."},
		{"what did not change does nothing", send(5, "B", "x y"), 4, "A= B=x y IMAGE=image."},
		{"what no environment can hold is left out", send(6, "B", "x y", "C=", "1", "D", "a\x00b"), 4, "A= B=x y IMAGE=image."},
		{"a new home node does nothing", func() { attached().server.Stop(); attached() }, 4, "A= B=x y IMAGE=image."},
		{"its changes restart", send(7, "A", "9"), 5, "A=9 B= IMAGE=image."},
	} {
		step.do()
		wait.For(t, patience, step.what, func() bool {
			runs := p.runs()
			return len(runs) >= step.runs && strings.HasSuffix(runs[len(runs)-1], step.last)
		})
		if runs := p.runs(); len(runs) != step.runs {
			t.Fatalf("%s: %q", step.what, runs)
		}
	}
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 0 {
		t.Errorf("exit status %d", got)
	}
}

func TestLateConfigurationRestartsOnce(t *testing.T) {
	h := homes(t, 1)
	h[0].set(func() { h[0].refuse = errs.New(errs.NotFound, "this node knows no deployment d1") })
	p := start(t, options{servers: h, wait: 50 * time.Millisecond}, "sh", "-c", loyal)
	p.prints("A= B=")
	p.complains("this node knows no deployment d1")
	h[0].set(func() { h[0].refuse, h[0].config = nil, config(1, "A", "late") })
	p.prints("A=late")
	p.complains("attached to the cluster")
	if got := strings.Count(p.err.String(), "no deployment d1"); got != 1 {
		t.Errorf("said %d times", got)
	}
	if runs := p.runs(); len(runs) != 2 {
		t.Errorf("%q", runs)
	}
}

func TestChangesDuringARestartBecomeOne(t *testing.T) {
	h := homes(t, 1)
	h[0].set(func() { h[0].config = config(1, "A", "1") })
	p := start(t, options{servers: h}, "sh", "-c", `
		trap "echo term; read go; exit 0" TERM; echo "run $$ A=$A"
		while :; do sleep 60 & wait $!; done`)
	p.prints("A=1")
	h[0].configure(2, "A", "2")
	p.complains("restarting")
	for i := range 20 {
		h[0].configure(uint64(3+i), "A", fmt.Sprint(3+i))
	}
	p.prints("A=22")
	runs := p.runs()
	if len(runs) > 4 {
		t.Errorf("20 changes: %q", runs)
	}
}

func TestChildThatCannotStartWithItsConfigurationGetsTheOneBefore(t *testing.T) {
	h := homes(t, 1)
	h[0].set(func() { h[0].config = config(1, "A", "1") })
	p := start(t, options{servers: h}, "sh", "-c", loyal)
	p.prints("A=1")
	h[0].configure(2, "A", strings.Repeat("x", 1<<20)) // more than the kernel takes
	p.complains("gets the one before")
	wait.For(t, patience, "the restart", func() bool { return len(p.runs()) == 2 })
	if !strings.HasSuffix(p.runs()[1], "A=1 B= IMAGE=image.") {
		t.Errorf("%q", p.runs())
	}
	h[0].configure(3, "A", "1") // which it has
	h[0].configure(4, "B", "2")
	p.prints("B=2")
	if len(p.runs()) != 3 {
		t.Errorf("%q", p.runs())
	}
}

func TestOlderConfigurationIsNeverTaken(t *testing.T) {
	u := &uplink{configs: make(chan *entrypointpb.Config, 1)}
	u.execs = newExecs(u, nil, nil)
	for _, step := range []struct {
		epoch             string
		index, generation uint64
		taken             bool
	}{
		{"01A", 5, 1, true},
		{"01A", 4, 2, false}, // a new home that lags
		{"01A", 6, 2, true},
		{"01A", 5, 1, false}, // the former one, late
		{"01A", 7, 1, true},
		{"01B", 1, 2, true}, // history was replaced
		{"01A", 9, 1, false},
	} {
		offered := config(step.index, "I", fmt.Sprint(step.index))
		offered.Epoch = step.epoch
		u.offer(offered, step.generation)
		select {
		case got := <-u.configs:
			if got != offered || !step.taken {
				t.Errorf("%+v was taken", step)
			}
		default:
			if step.taken {
				t.Errorf("%+v was not taken", step)
			}
		}
		if last := (*u.execs.env.Load())[0]; (last == "I="+fmt.Sprint(step.index)) != step.taken {
			t.Errorf("%+v: commands get %s", step, last)
		}
	}
}

func TestReattachesElsewhereWithoutTouchingTheChild(t *testing.T) {
	h := homes(t, 3)
	for _, node := range h {
		node.set(func() { node.config = config(1, "A", "1") })
	}
	p := start(t, options{servers: h}, "sh", "-c", loyal)
	p.prints("A=1")
	last := uint64(0)
	var instance string
	for range 2 {
		at := homeOf(t, h, last)
		at.set(func() {
			hello := at.hellos[len(at.hellos)-1]
			if hello.GetGeneration() <= last || instance != "" && hello.GetInstanceId() != instance {
				t.Errorf("hello %v after generation %d of %s", hello, last, instance)
			}
			last, instance = hello.GetGeneration(), hello.GetInstanceId()
			if have := hello.GetHave(); last > 1 && (have.GetEpoch() != "01E" || have.GetIndex() != 1) {
				t.Errorf("has configuration %v", have)
			}
			if last > 1 && (hello.GetChild().GetPid() == 0 || hello.GetChild().GetStarts() != 1) {
				t.Errorf("child is %v", hello.GetChild())
			}
		})
		at.server.Stop()
	}
	homeOf(t, h, last)
	if runs := p.runs(); len(runs) != 1 {
		t.Errorf("%q", runs)
	}
}

// homeOf waits for the node with an attach of a higher generation.
func homeOf(t *testing.T, h []*home, above uint64) *home {
	t.Helper()
	var found *home
	wait.For(t, patience, "an attach elsewhere", func() bool {
		for _, node := range h {
			node.set(func() {
				if n := len(node.hellos); len(node.attached) > 0 && node.hellos[n-1].GetGeneration() > above {
					found = node
				}
			})
		}
		return found != nil
	})
	return found
}

func TestMoveAttachesElsewhereBeforeItLeaves(t *testing.T) {
	h := homes(t, 2)
	start(t, options{servers: h, wait: time.Millisecond}, "sh", "-c", loyal)
	from := homeOf(t, h, 0)
	to := h[0]
	if from == to {
		to = h[1]
	}
	refusal := errs.New(errs.Unavailable, "not now")
	to.set(func() { to.refuse = refusal })
	from.say(&entrypointpb.Down{Kind: &entrypointpb.Down_Move{Move: &entrypointpb.Move{Reason: "leaving", ServerAddrs: []string{to.addr}}}})
	from.set(func() {
		if len(from.attached) == 0 {
			t.Error("left before it was elsewhere")
		}
	})
	to.set(func() { to.refuse = nil })
	to.until("the attach elsewhere", func() bool { return len(to.attached) == 1 })
	from.until("the old attach to end", func() bool { return len(from.attached) == 0 })
}

func TestClusterHearsOfTheChild(t *testing.T) {
	h := homes(t, 1)
	h[0].set(func() { h[0].config = config(1, "A", "1") })
	p := start(t, options{servers: h}, "sh", "-c", loyal+`; exit 4`)
	h[0].until("the child's start", func() bool { return h[0].child.GetPid() != 0 && h[0].child.GetStarts() == 1 })
	h[0].configure(2, "A", "2")
	h[0].until("the second start", func() bool { return h[0].child.GetStarts() == 2 && h[0].child.GetPid() != 0 })
	p.prints("A=2")
	var pid int
	_, err := fmt.Sscanf(p.runs()[len(p.runs())-1], "run %d", &pid)
	check(t, err)
	h[0].set(func() {
		if int(h[0].child.GetPid()) != pid {
			t.Errorf("child %d is reported as %d", pid, h[0].child.GetPid())
		}
	})
	check(t, syscall.Kill(pid, syscall.SIGKILL))
	if got := p.code(); got != 137 {
		t.Errorf("exit status %d", got)
	}
	h[0].until("the goodbye", func() bool {
		return h[0].goodbye.GetExitCode() == 137 && !h[0].goodbye.GetAsked() && h[0].child.GetExited() && h[0].child.GetExitCode() == 137
	})
}

func TestGoodbyeSaysWhetherASignalAskedForTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		signal syscall.Signal
		asked  bool
	}{
		"terminated":     {syscall.SIGTERM, true},
		"interrupted":    {syscall.SIGINT, true},
		"another signal": {syscall.SIGHUP, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := homes(t, 1)
			h[0].set(func() { h[0].config = config(1, "A", "1") })
			p := start(t, options{servers: h}, "sh", "-c", loyal)
			p.prints("run ")
			h[0].until("the child's start", func() bool { return h[0].child.GetPid() != 0 })
			p.signal(c.signal)
			p.code()
			h[0].until("the goodbye", func() bool { return h[0].goodbye != nil })
			if got := h[0].goodbye.GetAsked(); got != c.asked {
				t.Errorf("asked is %v, want %v", got, c.asked)
			}
		})
	}
}
