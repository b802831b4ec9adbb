package entrypoint

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/api/entrypointpb"
	"waypoint/internal/wait"
)

// send makes a configuration the current one and sends it, after it has been
// changed.
func (h *home) send(c *entrypointpb.Config, change func(*entrypointpb.Config)) *entrypointpb.Config {
	if change != nil {
		change(c)
		c.Hash = []byte(fmt.Sprint(c.GetVariables(), c.GetFiles(), c.GetReload()))
	}
	h.set(func() { h.config = c })
	h.say(&entrypointpb.Down{Kind: &entrypointpb.Down_Config{Config: c}})
	return c
}

// wants waits until a restart is wanted for a configuration.
func (h *home) wants(c *entrypointpb.Config) {
	h.t.Helper()
	h.until("the wish to restart", func() bool { return bytes.Equal(h.child.GetRestartWanted(), c.GetHash()) })
}

// heard waits until what was said before has been handled: it sends what the
// child has, under another hash, and waits for that in the child's state.
func (h *home) heard(has *entrypointpb.Config) {
	h.t.Helper()
	again := &entrypointpb.Config{
		Epoch: has.GetEpoch(), Index: h.config.GetIndex(), Hash: []byte(string(has.GetHash()) + " again"),
		Variables: has.GetVariables(), Files: has.GetFiles(), Reload: has.GetReload(),
	}
	h.send(again, nil)
	h.until("an answer", func() bool { return bytes.Equal(h.child.GetConfigHash(), again.Hash) })
}

func TestRestartWaitsForItsTurn(t *testing.T) {
	h := homes(t, 1)[0]
	h.set(func() { h.config, h.withhold = config(1, "A", "1"), true })
	p := start(t, options{servers: []*home{h}}, "sh", "-c", loyal)
	p.prints("A=1")
	h.until("the start", func() bool { return bytes.Equal(h.child.GetConfigHash(), config(1, "A", "1").Hash) })
	h.wants(h.send(config(2, "A", "2"), nil))
	h.say(turn(0)) // too late
	h.say(turn(2)) // too early
	h.heard(config(3, "A", "1"))
	third := h.send(config(4, "A", "3"), nil)
	h.wants(third)
	if runs := p.runs(); len(runs) != 1 {
		t.Errorf("restarted without its turn: %q", runs)
	}
	// The newest configuration counts, though nobody knows yet that it is wanted.
	fourth := h.send(config(5, "A", "4"), nil)
	h.say(turn(1))
	p.prints("A=4")
	h.until("the report", func() bool {
		return h.child.GetStarts() == 2 && bytes.Equal(h.child.GetConfigHash(), fourth.Hash) && h.child.GetRestartWanted() == nil
	})
	h.say(turn(1)) // once more, after a change of home
	h.heard(fourth)
	h.wants(h.send(config(6, "A", "5"), nil))
	if runs := p.runs(); len(runs) != 2 {
		t.Errorf("restarted twice for one turn: %q", runs)
	}
}

func TestWishIsWithdrawnWhenTheChildHasWhatIsWanted(t *testing.T) {
	h := homes(t, 1)[0]
	h.set(func() { h.config, h.withhold = config(1, "A", "1"), true })
	p := start(t, options{servers: []*home{h}}, "sh", "-c", loyal)
	p.prints("A=1")
	h.wants(h.send(config(2, "A", "2"), nil))
	back := config(3, "A", "1")
	back.Hash = []byte("another, for the reload policy differs")
	h.send(back, nil)
	h.until("the withdrawal", func() bool {
		return h.child.GetRestartWanted() == nil && bytes.Equal(h.child.GetConfigHash(), back.Hash)
	})
	h.say(turn(1))
	h.heard(back)
	h.wants(h.send(config(4, "A", "4"), nil))
	if runs := p.runs(); len(runs) != 1 {
		t.Errorf("%q", runs)
	}
}

func TestLateConfigurationTakesItsTurnToo(t *testing.T) {
	h := homes(t, 1)[0]
	h.set(func() { h.withhold = true })
	p := start(t, options{servers: []*home{h}, wait: time.Millisecond}, "sh", "-c", loyal)
	p.prints("A= B=")
	h.until("the start", func() bool { return h.child.GetStarts() == 1 })
	h.set(func() {
		if h.child.GetConfigHash() != nil {
			t.Errorf("started with %q", h.child.GetConfigHash())
		}
	})
	h.wants(h.send(config(1, "A", "late"), nil))
	if runs := p.runs(); len(runs) != 1 {
		t.Errorf("%q", runs)
	}
	h.say(turn(1))
	p.prints("A=late")
}

func TestSameConfigurationOfANewEpochDoesNotRestart(t *testing.T) {
	h := homes(t, 1)[0]
	h.set(func() { h.config = config(7, "A", "1") })
	p := start(t, options{servers: []*home{h}}, "sh", "-c", loyal)
	p.prints("A=1")
	restored := config(1, "A", "1")
	restored.Epoch, restored.Hash = "01F", []byte("other")
	h.set(func() { h.config = restored; close(h.end); h.end = make(chan struct{}) })
	h.until("the configuration of the new epoch", func() bool { return bytes.Equal(h.child.GetConfigHash(), restored.Hash) })
	h.set(func() {
		for _, state := range h.states {
			if state.GetRestartWanted() != nil {
				t.Errorf("a restart was wanted: %v", state)
			}
		}
	})
	if runs := p.runs(); len(runs) != 1 {
		t.Errorf("%q", runs)
	}
}

func TestChangesThatComeTogetherAreOneWish(t *testing.T) {
	h := homes(t, 1)[0]
	h.set(func() { h.config, h.withhold = config(1, "A", "1"), true })
	p := start(t, options{servers: []*home{h}}, "sh", "-c", loyal)
	p.prints("A=1")
	var last *entrypointpb.Config
	for i := range 12 {
		last = h.send(config(uint64(2+i), "A", fmt.Sprint(2+i)), nil)
	}
	h.wants(last)
	h.set(func() {
		wishes := 0
		for _, state := range h.states {
			if state.GetRestartWanted() != nil {
				wishes++
			}
		}
		if wishes > 3 { // one, unless this machine is held up
			t.Errorf("%d wishes for 12 changes", wishes)
		}
	})
}

func TestLullEndsThoughChangesDoNot(t *testing.T) {
	l := lull{timer: stoppedTimer()}
	l.change()
	l.since = l.since.Add(-maxLull)
	l.timer.Stop()
	l.change()
	select {
	case <-l.timer.C:
	case <-time.After(patience):
		t.Error("it waits for quiet")
	}
}

// A child that shows its file at the start and at each hangup.
const reader = `trap "exit 0" TERM; trap 'echo "hup $(cat $F)"' HUP; echo "run A=$A $(cat $F)."; while :; do sleep 60 & wait $!; kill $! 2>/dev/null; done`

func TestSignalPolicyWritesFilesAndSignals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "conf", "app")
	h := homes(t, 1)[0]
	with := func(content string, reload entrypointpb.Reload) func(*entrypointpb.Config) {
		return func(c *entrypointpb.Config) {
			c.Files, c.Reload, c.Signal = []*entrypointpb.ConfigFile{configFile(path, content)}, reload, int32(syscall.SIGHUP)
		}
	}
	const bySignal = entrypointpb.Reload_RELOAD_SIGNAL
	first := h.send(config(1, "A", "1"), with("one", bySignal))
	p := start(t, options{servers: []*home{h}, env: []string{"F=" + path}}, "sh", "-c", reader)
	p.prints("run A=1 one.")
	second := h.send(config(2, "A", "1"), with("two", bySignal))
	p.prints("hup two")
	h.until("the hash", func() bool { return bytes.Equal(h.child.GetConfigHash(), second.Hash) })
	h.send(config(3, "A", "1"), with("two", bySignal)) // nothing changes
	h.send(config(4, "A", "4"), with("four", bySignal))
	p.prints("hup four")
	h.set(func() {
		if h.child.GetStarts() != 1 || h.child.GetRestartWanted() != nil || bytes.Equal(h.child.GetConfigHash(), first.Hash) {
			t.Errorf("child is %v", h.child)
		}
	})
	// Its environment is still old: a policy that restarts finds that out.
	h.send(config(5, "A", "4"), with("four", entrypointpb.Reload_RELOAD_RESTART))
	p.prints("run A=4 four.")
	if got := strings.Count(p.out.String(), "hup two"); got != 1 {
		t.Errorf("signalled %d times for one change", got)
	}
}

func TestNextStartPolicyDoesNothingUntilThen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app")
	h := homes(t, 1)[0]
	with := func(content string, reload entrypointpb.Reload) func(*entrypointpb.Config) {
		return func(c *entrypointpb.Config) {
			c.Files, c.Reload = []*entrypointpb.ConfigFile{configFile(path, content)}, reload
		}
	}
	h.set(func() { h.withhold = true })
	first := h.send(config(1), with("one", entrypointpb.Reload_RELOAD_NEXT_START))
	p := start(t, options{servers: []*home{h}, env: []string{"F=" + path}}, "sh", "-c", reader)
	p.prints("one.")
	h.until("the start", func() bool { return h.child.GetConfigHash() != nil })
	h.send(config(2), with("two", entrypointpb.Reload_RELOAD_NEXT_START))
	h.wants(h.send(config(3), with("three", entrypointpb.Reload_RELOAD_RESTART)))
	reads(t, path, "one", 0o600) // not before the turn either
	h.set(func() {
		for _, state := range h.states[:len(h.states)-1] {
			if state.GetRestartWanted() != nil {
				t.Errorf("a restart was wanted: %v", state)
			}
		}
	})
	h.send(config(4), with("four", entrypointpb.Reload_RELOAD_NEXT_START))
	h.until("the withdrawal", func() bool { return h.child.GetRestartWanted() == nil })
	h.say(turn(1))
	h.heard(first)
	h.wants(h.send(config(5), with("five", entrypointpb.Reload_RELOAD_RESTART)))
	h.say(turn(1))
	p.prints("run A= five.")
	if strings.Contains(p.out.String(), "four") {
		t.Errorf("restarted without a wish: %s", p.out.String())
	}
}

func TestFilesGoWithTheirVariables(t *testing.T) {
	dir := t.TempDir()
	h := homes(t, 1)[0]
	h.send(config(1, "A", "1"), func(c *entrypointpb.Config) {
		c.Files = []*entrypointpb.ConfigFile{configFile(dir+"/a/b", "x")}
	})
	p := start(t, options{servers: []*home{h}}, "sh", "-c", loyal)
	p.prints("A=1")
	reads(t, dir+"/a/b", "x", 0o600)
	h.send(config(2, "A", "2"), nil)
	p.prints("A=2")
	if got := tree(t, dir); got != "" {
		t.Errorf("there is %s", got)
	}
}

func TestFileThatCannotBeWrittenIsToldOnce(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	check(t, os.WriteFile(plain, nil, 0o600))
	check(t, os.Mkdir(dir+"/folder", 0o700)) // the failure names a temporary file
	h := homes(t, 1)[0]
	files := func(c *entrypointpb.Config) {
		c.Files = []*entrypointpb.ConfigFile{configFile(dir+"/good", "x"), configFile(plain+"/bad", "x"), configFile(dir+"/folder", "x")}
	}
	h.send(config(1, "A", "1"), files)
	p := start(t, options{servers: []*home{h}}, "sh", "-c", loyal)
	p.prints("A=1")
	reads(t, dir+"/good", "x", 0o600)
	h.send(config(2, "A", "2"), files)
	p.prints("A=2")
	p.complains(plain)
	p.complains("/folder")
	if got := strings.Count(p.err.String(), "configuration file"); got != 2 {
		t.Errorf("told %d times: %s", got, p.err.String())
	}
}

func TestRequiredConfigurationIsWaitedFor(t *testing.T) {
	h := homes(t, 1)[0]
	required := []string{EnvRequireConfig + "=true"}
	p := start(t, options{servers: []*home{h}, wait: time.Millisecond, env: required}, "sh", "-c", loyal)
	p.complains("no configuration has come yet")
	h.until("the attach", func() bool { return len(h.attached) == 1 })
	if p.out.String() != "" {
		t.Errorf("started: %s", p.out.String())
	}
	h.configure(1, "A", "1")
	p.prints("A=1")
	if runs := p.runs(); len(runs) != 1 || strings.Count(p.err.String(), "no configuration") != 1 {
		t.Errorf("%q %s", runs, p.err.String())
	}
}

func TestSignalsEndTheWaitForARequiredConfiguration(t *testing.T) {
	closed := listen(t).Addr().String() // takes connections and says nothing
	_, pin := certificate(t)
	for name, tt := range map[string]struct {
		o    options
		says string
	}{
		"no answer":  {options{addrs: []string{closed}, ca: pin, wait: time.Millisecond}, "no configuration has come yet"},
		"no servers": {options{}, "no configuration can come"},
		"no token":   {options{addrs: []string{closed}, ca: pin, token: "-"}, "no configuration can come"},
	} {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			t.Run(name+" "+sig.String(), func(t *testing.T) {
				t.Parallel()
				o := tt.o
				o.env = []string{EnvRequireConfig + "=1"}
				p := start(t, o, "echo", "started")
				p.complains(tt.says)
				p.signal(sig)
				if got := p.code(); got != 128+int(sig) || p.out.String() != "" {
					t.Errorf("exit status %d, output %q", got, p.out.String())
				}
			})
		}
	}
}

func TestRequiredFilesAreWaitedFor(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "plain")
	check(t, os.WriteFile(plain, nil, 0o600))
	h := homes(t, 1)[0]
	h.send(config(1, "A", "1"), func(c *entrypointpb.Config) {
		c.Files = []*entrypointpb.ConfigFile{configFile(plain+"/bad", "x")}
	})
	p := start(t, options{servers: []*home{h}, env: []string{EnvRequireConfig + "=1"}}, "sh", "-c", loyal)
	p.complains("not started without its files")
	if p.out.String() != "" {
		t.Errorf("started: %s", p.out.String())
	}
	check(t, os.Remove(plain)) // somebody mends it
	p.prints("A=1")
	reads(t, plain+"/bad", "x", 0o600)
	h.send(config(2, "A", "2"), func(c *entrypointpb.Config) {
		c.Files = []*entrypointpb.ConfigFile{configFile(plain+"/bad/worse", "x"), configFile("/proc/waypoint/x", "x")}
	})
	p.complains("gets the one before")
	wait.For(t, patience, "the restart", func() bool { return strings.Count(p.out.String(), "A=1") == 2 })
	reads(t, plain+"/bad", "x", 0o600)
}

func TestDisabledEntrypointIsAPlainInit(t *testing.T) {
	h := homes(t, 1)[0]
	path := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(path)
	check(t, err)
	defer out.Close()
	env := []string{EnvDisable + "=1", EnvRequireConfig + "=1"}
	p := start(t, options{servers: []*home{h}, env: env, stdout: out}, "sh", "-c", "readlink /proc/self/fd/1; env; exit 3")
	if got := p.code(); got != 3 {
		t.Errorf("exit status %d", got)
	}
	got, err := os.ReadFile(path)
	check(t, err)
	if !strings.HasPrefix(string(got), path+"\n") || strings.Contains(string(got), "WAYPOINT_") {
		t.Errorf("%s", got)
	}
	h.set(func() {
		if h.tries != 0 {
			t.Errorf("it attached %d times", h.tries)
		}
	})
}
