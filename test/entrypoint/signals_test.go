package entrypoint

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"waypoint/internal/wait"
)

// notPassedOn says of each signal that does not reach the child why.
func notPassedOn(sig syscall.Signal) string {
	switch {
	case sig == syscall.SIGKILL || sig == syscall.SIGSTOP:
		return "no process can catch it"
	case sig == syscall.SIGCHLD:
		return "it is about the entrypoint's own children"
	case sig == syscall.SIGPIPE:
		return "it is about the entrypoint's own writes"
	case sig == syscall.SIGURG:
		return "the Go runtime sends it to itself all the time"
	case sig == 32 || sig == 33:
		return "C libraries use it between their threads, and no program of theirs can catch it"
	}
	return ""
}

// notForGo tells whether a child that is a Go program cannot catch a signal.
func notForGo(sig syscall.Signal) bool { return sig == syscall.SIGPROF || sig == 34 }

// Every signal that can be passed on reaches the child.
func TestSignals(t *testing.T) {
	t.Run("reach the child", func(t *testing.T) {
		p := start(t, launch{env: []string{"WAYPOINT_ENTRYPOINT_GRACE=1s"}}, built.child, "signals")
		passEverySignal(t, p)
	})
	t.Run("reach a child that is no Go program", func(t *testing.T) {
		p := start(t, launch{}, "sh", "-c", `
			for n in 1 10 27 34 35 64; do trap "echo signal $n" $n; done; trap "exit 5" TERM
			echo ready; while :; do sleep 60 & wait $!; done`)
		p.prints("ready")
		for _, n := range []int{1, 10, 27, 34, 35, 64} {
			p.signal(syscall.Signal(n))
			p.prints(fmt.Sprintf("signal %d\n", n))
			t.Logf("%2d %-10s reached the shell", n, nameOf(syscall.Signal(n)))
		}
		p.signal(syscall.SIGTERM)
		if got := p.code(); got != 5 {
			t.Errorf("exit status %d", got)
		}
	})
	t.Run("reach the child of PID 1", func(t *testing.T) {
		p := start(t, launch{wrap: asPID1(), env: []string{"WAYPOINT_ENTRYPOINT_GRACE=1s"}}, built.child, "signals")
		passEverySignal(t, p)
	})
}

// asPID1 is a command that runs another in process and mount namespaces of its
// own, with a /proc of its own.
func asPID1() []string {
	return []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
}

func passEverySignal(t *testing.T, p *program) {
	p.prints("ready")
	pid := p.pid()
	for n := 1; n <= 64; n++ {
		sig := syscall.Signal(n)
		name := nameOf(sig)
		if why := notPassedOn(sig); why != "" {
			if !strings.Contains(why, "no process") && n < 32 {
				check(t, syscall.Kill(pid, sig))
			}
			t.Logf("%2d %-10s not passed on: %s", n, name, why)
			continue
		}
		if sig == syscall.SIGTERM || sig == syscall.SIGINT {
			t.Logf("%2d %-10s see the end", n, name)
			continue
		}
		if notForGo(sig) {
			t.Logf("%2d %-10s see the shell: a Go program cannot catch it", n, name)
			continue
		}
		began := time.Now()
		check(t, syscall.Kill(pid, sig))
		p.prints(fmt.Sprintf("signal %d\n", n))
		t.Logf("%2d %-10s reached the child after %s", n, name, time.Since(began).Round(time.Millisecond))
	}
	began := time.Now()
	check(t, syscall.Kill(pid, syscall.SIGINT))
	p.prints("signal 2\n")
	check(t, syscall.Kill(pid, syscall.SIGTERM))
	p.prints("signal 15\n")
	t.Logf(" 2 SIGINT     and 15 SIGTERM reached the child")
	if got := p.code(); got != 137 {
		t.Errorf("exit status %d, want 137 of a child that is killed after its grace", got)
	}
	t.Logf("   the child ignored both and was killed %s later", time.Since(began).Round(time.Millisecond))
	for _, n := range []int{13, 17, 23} {
		if strings.Contains(p.out.String(), fmt.Sprintf("signal %d\n", n)) {
			t.Errorf("signal %d was passed on", n)
		}
	}
}

func nameOf(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return "real-time"
}

// As PID 1 a process has no default actions, but its child does.
func TestSignalsWithDefaultActionEndTheChildOfPID1(t *testing.T) {
	for _, n := range []int{1, 2, 3, 6, 10, 11, 12, 14, 15, 27, 34, 37, 64} {
		p := start(t, launch{wrap: asPID1()}, "sleep", "600")
		p.runs("sleep")
		p.signal(syscall.Signal(n))
		if got := p.code(); got != 128+n {
			t.Errorf("signal %d: exit status %d", n, got)
		}
		t.Logf("%2d ends the child of PID 1: exit status %d", n, p.code())
	}
}

// runs waits until the entrypoint's only child is a program of that name.
func (p *program) runs(name string) (pid int) {
	p.t.Helper()
	p.until("the child to be "+name, func() bool {
		children := childrenOf(p.pid())
		if len(children) == 1 {
			pid = children[0]
		}
		return len(children) == 1 && commandOf(pid) == name
	})
	return pid
}

// commandOf is the name of the program that a process runs now.
func commandOf(pid int) string {
	name, _, _ := strings.Cut(commandLine(pid), " ")
	return name
}

func TestSignalsBeginTheEnd(t *testing.T) {
	t.Run("TERM is passed on and the grace begins", func(t *testing.T) {
		p := start(t, launch{env: []string{"WAYPOINT_ENTRYPOINT_GRACE=700ms"}}, built.child, "signals")
		p.prints("ready")
		began := time.Now()
		p.signal(syscall.SIGTERM)
		p.prints("signal 15")
		got, took := p.code(), time.Since(began)
		if got != 137 || took < 700*time.Millisecond {
			t.Errorf("exit status %d after %s", got, took)
		}
		t.Logf("killed after %s, grace 700ms", took.Round(time.Millisecond))
	})
	t.Run("a second one shortens the grace", func(t *testing.T) {
		p := start(t, launch{env: []string{"WAYPOINT_ENTRYPOINT_GRACE=1h"}}, built.child, "signals")
		p.prints("ready")
		p.signal(syscall.SIGINT)
		p.prints("signal 2")
		began := time.Now()
		p.signal(syscall.SIGTERM)
		if got := p.code(); got != 137 {
			t.Errorf("exit status %d", got)
		}
		t.Logf("killed %s after the second signal, grace 1h", time.Since(began).Round(time.Millisecond))
	})
	t.Run("those that come late do not replace the exit status", func(t *testing.T) {
		for range 20 {
			p := start(t, launch{}, built.child, "say", "9")
			p.prints("ready")
			for !p.ended() {
				_ = syscall.Kill(p.pid(), syscall.SIGTERM) // it may end at this moment
			}
			if got := p.code(); got != 9 {
				t.Fatalf("exit status %d", got)
			}
		}
	})
	t.Run("a child that ends by itself needs no grace", func(t *testing.T) {
		p := start(t, launch{}, built.child, "say", "9")
		p.prints("ready")
		p.signal(syscall.SIGTERM)
		if got := p.code(); got != 9 {
			t.Errorf("exit status %d", got)
		}
	})
}

func TestSignalsEndTheProcessGroupAndNoMore(t *testing.T) {
	t.Run("the process group ends with the child", func(t *testing.T) {
		p := start(t, launch{}, "sh", "-c", `sleep 600 & echo "left $!."; exit 3`)
		if got := p.code(); got != 3 {
			t.Errorf("exit status %d", got)
		}
		if pid := number(t, p.out.String(), "left "); alive(pid) {
			t.Errorf("process %d is left", pid)
		}
	})
	t.Run("a stubborn group is killed after its grace", func(t *testing.T) {
		ready := filepath.Join(t.TempDir(), "ready")
		p := start(t, launch{env: []string{"WAYPOINT_ENTRYPOINT_GRACE=300ms"}}, "sh", "-c",
			fmt.Sprintf(`mkfifo %[1]s; %[2]s signals >%[1]s & echo "left $!."; read -r _ <%[1]s; exit 3`, ready, built.child))
		if got := p.code(); got != 3 {
			t.Errorf("exit status %d", got)
		}
		if pid := number(t, p.out.String(), "left "); alive(pid) {
			t.Errorf("process %d is left", pid)
		}
	})
	t.Run("who has a session of its own is only reaped", func(t *testing.T) {
		p := start(t, launch{}, "sh", "-c", `
			setsid sh -c 'echo "first $$."; exec sleep 600' &
			setsid sh -c 'echo "second $$."; exec sleep 600' &
			trap "exit 4" TERM; while :; do sleep 60 & wait $!; done`)
		p.prints("first ")
		p.prints("second ")
		first, second := number(t, p.out.String(), "first "), number(t, p.out.String(), "second ")
		t.Cleanup(func() { _ = syscall.Kill(second, syscall.SIGKILL) })
		shell := childrenOf(p.pid())[0]
		// They become orphans, which the entrypoint adopts.
		p.until("the sessions to be the shell's", func() bool { return commandOf(first) == "sleep" && commandOf(second) == "sleep" })
		if got := stat(first)[1]; got != strconv.Itoa(shell) {
			t.Errorf("the parent is %s, want the shell %d", got, shell)
		}
		p.signal(syscall.SIGTERM)
		if got := p.code(); got != 4 {
			t.Errorf("exit status %d", got)
		}
		if !alive(first) || !alive(second) {
			t.Errorf("a session of its own was ended with the child")
		}
		check(t, syscall.Kill(first, syscall.SIGKILL))
		check(t, syscall.Kill(second, syscall.SIGKILL))
	})
	t.Run("an orphan in a session of its own is adopted and reaped", func(t *testing.T) {
		p := start(t, launch{}, "sh", "-c", `
			(setsid sh -c 'echo "orphan $$."; exec sleep 600' &)
			trap "exit 4" TERM; while :; do sleep 60 & wait $!; done`)
		p.prints("orphan ")
		orphan := number(t, p.out.String(), "orphan ")
		p.until("its adoption", func() bool {
			fields := stat(orphan)
			return len(fields) > 1 && fields[1] == strconv.Itoa(p.pid())
		})
		check(t, syscall.Kill(orphan, syscall.SIGKILL))
		p.until("its zombie to go", func() bool { return stat(orphan) == nil })
		p.signal(syscall.SIGTERM)
		if got := p.code(); got != 4 {
			t.Errorf("exit status %d", got)
		}
	})
}

// number finds the process number between a word and a full stop.
func number(t *testing.T, text, after string) int {
	t.Helper()
	_, rest, _ := strings.Cut(text, after)
	digits, _, _ := strings.Cut(rest, ".")
	pid, err := strconv.Atoi(digits)
	check(t, err)
	return pid
}

// A child that is stopped goes on, or ends, when the entrypoint is told so.
func TestSignalsStopAndContinueTheChild(t *testing.T) {
	p := start(t, launch{}, "sleep", "600")
	child := p.runs("sleep")
	state := func() string { return stat(child)[0] }
	check(t, syscall.Kill(child, syscall.SIGSTOP))
	wait.For(t, patience, "the child to stop", func() bool { return state() == "T" })
	p.signal(syscall.SIGCONT)
	wait.For(t, patience, "the child to go on", func() bool { return state() != "T" })
	check(t, syscall.Kill(child, syscall.SIGSTOP))
	wait.For(t, patience, "the child to stop", func() bool { return state() == "T" })
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 143 {
		t.Errorf("exit status %d", got)
	}
}
