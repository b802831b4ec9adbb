package entrypoint

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"waypoint/api/entrypointpb"
	"waypoint/internal/atomicfile"
)

const (
	envHang  = "TEST_HANG"  // a named pipe: writing a file whose content begins so waits for its writer
	envForks = "TEST_FORKS" // what happens at each start of a process, a letter each
	stuck    = "stuck "     // how such a content begins
	mortal   = `trap "exit 9" TERM; echo "run A=$A."; while :; do sleep 60 & wait $!; done`
	notYet   = "not written yet"
	soonest  = 4500 * time.Millisecond
	tick     = time.Millisecond
	forkFine = '.'
	forkBusy = 'b' // fails for want of something
	forkSlow = 's' // returns when the process has ended and been reaped
)

// disturb lets drives and forks fail as a test wants it.
func (c *Config) disturb() {
	if pipe := os.Getenv(envHang); pipe != "" {
		c.replace = hanging(pipe)
	}
	forks, n := os.Getenv(envForks), atomic.Int32{}
	c.fork = func(path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
		kind := forkFine
		if i := int(n.Add(1)) - 1; i < len(forks) {
			kind = rune(forks[i])
		}
		if kind == forkBusy {
			return nil, &fs.PathError{Op: "fork/exec", Path: path, Err: syscall.EAGAIN}
		}
		started, err := os.StartProcess(path, argv, attr)
		for kind == forkSlow && err == nil && syscall.Kill(started.Pid, 0) == nil {
			<-time.After(tick)
		}
		return started, err
	}
}

func hanging(pipe string) replaceFunc {
	return func(path string, data []byte, mode fs.FileMode, uid, gid int) error {
		if strings.HasPrefix(string(data), stuck) {
			if _, err := os.ReadFile(pipe); err != nil {
				return err
			}
		}
		return atomicfile.Replace(path, data, mode, uid, gid)
	}
}

// drive is a named pipe that stands for a drive that does not answer.
func drive(t *testing.T) (pipe string, answer func()) {
	t.Helper()
	pipe = filepath.Join(t.TempDir(), "drive")
	check(t, syscall.Mkfifo(pipe, 0o600))
	return pipe, func() {
		t.Helper()
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		check(t, err)
		check(t, f.Close())
	}
}

func withFile(path, content string, reload entrypointpb.Reload) func(*entrypointpb.Config) {
	return func(c *entrypointpb.Config) {
		c.Files, c.Reload, c.Signal = []*entrypointpb.ConfigFile{configFile(path, content)}, reload, int32(syscall.SIGHUP)
	}
}

func TestFirstStartDoesNotWaitForADriveThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	pipe, answer := drive(t)
	path := filepath.Join(t.TempDir(), "file")
	h := homes(t, 1)[0]
	h.send(config(1, "A", "1"), withFile(path, stuck, entrypointpb.Reload_RELOAD_RESTART))
	p := start(t, options{servers: []*home{h}, wait: soonest, env: []string{envHang + "=" + pipe}}, "sh", "-c", mortal)
	p.prints("run A=1.")
	p.complains(notYet)
	if _, err := os.Stat(path); err == nil {
		t.Error("the file was written")
	}
	answer()
	h.until("the file", func() bool { _, err := os.Stat(path); return err == nil })
	h.send(config(2, "A", "2"), withFile(path, stuck+"again", entrypointpb.Reload_RELOAD_RESTART))
	p.prints("run A=2.")
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 9 {
		t.Errorf("exit status %d", got)
	}
	reads(t, path, stuck, 0o600)
}

func TestSignalIsSentWhenTheDriveAnswers(t *testing.T) {
	t.Parallel()
	pipe, answer := drive(t)
	path := filepath.Join(t.TempDir(), "file")
	h := homes(t, 1)[0]
	h.send(config(1), withFile(path, "one", entrypointpb.Reload_RELOAD_SIGNAL))
	p := start(t, options{servers: []*home{h}, env: []string{"F=" + path, envHang + "=" + pipe}}, "sh", "-c", reader)
	p.prints("one.")
	second := h.send(config(2), withFile(path, stuck+"two", entrypointpb.Reload_RELOAD_SIGNAL))
	p.complains(notYet)
	p.signal(syscall.SIGWINCH) // is passed on, to no effect
	if strings.Contains(p.out.String(), "hup") {
		t.Error("signalled before the file was written")
	}
	answer()
	p.prints("hup " + stuck + "two")
	h.until("the report", func() bool { return string(h.child.GetConfigHash()) == string(second.GetHash()) })
	h.send(config(3), withFile(path, stuck+"three", entrypointpb.Reload_RELOAD_SIGNAL))
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 0 {
		t.Errorf("exit status %d", got)
	}
}

func TestRequiredFilesOfADriveThatDoesNotAnswerAreWaitedFor(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{true, false} {
		pipe, answer := drive(t)
		h := homes(t, 1)[0]
		h.send(config(1, "A", "1"), withFile(filepath.Join(t.TempDir(), "file"), stuck, entrypointpb.Reload_RELOAD_RESTART))
		env := []string{envHang + "=" + pipe, EnvRequireConfig + "=1"}
		p := start(t, options{servers: []*home{h}, wait: time.Millisecond, env: env}, "sh", "-c", mortal)
		p.complains(notYet)
		if p.out.String() != "" {
			t.Errorf("started: %s", p.out.String())
		}
		want := 128 + int(syscall.SIGTERM)
		if answers {
			answer()
			p.prints("run A=1.")
			want = 9
		}
		p.signal(syscall.SIGTERM)
		if got := p.code(); got != want {
			t.Errorf("exit status %d, want %d", got, want)
		}
	}
}

func TestOnlyTheNewestOrderIsKept(t *testing.T) {
	pipe, answer := drive(t)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	with := func(name, content string) *settings {
		return &settings{files: []*entrypointpb.ConfigFile{configFile(path(name), content)}}
	}
	w := newWriter(newFiles(hanging(pipe)))
	defer w.finish(patience)
	if w.order(&order{with: &settings{}, anew: true}) {
		t.Error("there is something to do without files")
	}
	first, third := &order{with: with("a", stuck)}, &order{with: with("c", "c"), signal: true}
	w.order(first)
	w.order(&order{with: with("b", "b"), anew: true})
	w.order(third)
	if !w.signalling(with("c", "c")) || w.signalling(with("b", "b")) {
		t.Error("it does not know what it was asked for last")
	}
	answer()
	if got := <-w.done; got != first || w.took(got) {
		t.Error("the first order is not the one that was out")
	}
	if got := <-w.done; got != third || !third.anew || third.missing() || !w.took(got) {
		t.Errorf("done was %+v", got)
	}
	if got := tree(t, dir); got != "c" {
		t.Errorf("there is %s", got)
	}
}

func TestPanicOfAWriteIsAFault(t *testing.T) {
	w := newWriter(newFiles(func(string, []byte, fs.FileMode, int, int) error { panic("defect") }))
	w.order(&order{with: &settings{files: []*entrypointpb.ConfigFile{configFile(filepath.Join(t.TempDir(), "f"), "x")}}})
	if got := <-w.done; !got.missing() || !w.took(got) {
		t.Errorf("done was %+v", got)
	}
	w.finish(patience)
}

func TestProcessThatEndsWhileItIsStartedIsNotLost(t *testing.T) {
	t.Parallel()
	p := start(t, options{env: []string{envForks + "=s"}}, "sh", "-c", "exit 7")
	if got := p.code(); got != 7 {
		t.Errorf("exit status %d", got)
	}
}

func TestStatusOfAnOrphanIsNotThatOfTheNextWithItsNumber(t *testing.T) {
	sleeper, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "read x"}, &os.ProcAttr{Files: []*os.File{pipeEnd(t)}})
	check(t, err)
	defer func() {
		_ = sleeper.Kill()
		_, _ = sleeper.Wait()
	}()
	p := &process{pid: sleeper.Pid, ended: make(chan struct{}), stopped: make(chan struct{}, 1)}
	r := &reaper{started: map[int]*process{p.pid: p}, early: map[int]syscall.WaitStatus{p.pid: 3 << 8}}
	r.collect(p)
	if r.started[p.pid] != p || len(r.early) != 0 {
		t.Errorf("it counts as ended with %d", p.code)
	}
}

// pipeEnd can be read from to no end.
func pipeEnd(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	check(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return r
}

func TestStartThatFailsForAMomentIsTriedAgain(t *testing.T) {
	t.Parallel()
	t.Run("first", func(t *testing.T) {
		t.Parallel()
		p := start(t, options{env: []string{envForks + "=bbbb"}}, "sh", "-c", "echo started; exit 5")
		if got := p.code(); got != 5 || p.out.String() != "started\n" {
			t.Errorf("exit status %d, %q", got, p.out.String())
		}
		if got := strings.Count(p.err.String(), "trying again"); got != 1 {
			t.Errorf("told %d times", got)
		}
	})
	t.Run("first, too often", func(t *testing.T) {
		t.Parallel()
		p := start(t, options{env: []string{envForks + "=bbbbb"}}, "true")
		if got := p.code(); got != codeNotStarted {
			t.Errorf("exit status %d", got)
		}
	})
	t.Run("restart", func(t *testing.T) {
		t.Parallel()
		h := homes(t, 1)[0]
		h.set(func() { h.config = config(1, "A", "1") })
		p := start(t, options{servers: []*home{h}, env: []string{envForks + "=.bb"}}, "sh", "-c", mortal)
		p.prints("run A=1.")
		h.send(config(2, "A", "2"), nil)
		p.prints("run A=2.")
		p.signal(syscall.SIGTERM)
		if got := p.code(); got != 9 {
			t.Errorf("exit status %d", got)
		}
	})
}

func TestPathThatHidesTheCommandIsLeftOut(t *testing.T) {
	t.Parallel()
	h := homes(t, 1)[0]
	h.set(func() { h.config = config(1, "PATH", "/no/such/folder", "A", "1") })
	p := start(t, options{servers: []*home{h}}, "sh", "-c", "echo A=$A; exit 6")
	if got := p.code(); got != 6 || p.out.String() != "A=\n" {
		t.Errorf("exit status %d, %q", got, p.out.String())
	}
	p.complains("gets none")
	p = start(t, options{servers: []*home{h}, env: []string{EnvRequireConfig + "=1"}}, "sh", "-c", "exit 6")
	if got := p.code(); got != codeNotFound {
		t.Errorf("with a required configuration: exit status %d", got)
	}
}

func TestRequiredFileWithoutItsOwnerIsThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	h := homes(t, 1)[0]
	h.send(config(1, "A", "1"), func(c *entrypointpb.Config) {
		c.Files = []*entrypointpb.ConfigFile{configFile(path, "x")}
		c.Files[0].Owner = "no-such-user-here"
	})
	p := start(t, options{servers: []*home{h}, env: []string{EnvRequireConfig + "=1"}}, "sh", "-c", mortal)
	p.prints("run A=1.")
	p.complains("no-such-user-here")
	reads(t, path, "x", 0o600)
}
