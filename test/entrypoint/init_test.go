package entrypoint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"waypoint/internal/wait"
)

const orphans = `
	i=0; while [ $i -lt 1000 ]; do (sh -c 'exit 4' &); i=$((i+1)); done
	trap "exit 6" TERM; echo done
	while :; do sleep 60 & wait $!; done`

// As PID 1, and as the adopter of what is below it, the entrypoint leaves no
// zombies.
func TestInitReapsOrphans(t *testing.T) {
	for name, wrap := range map[string][]string{"PID 1": asPID1(), "subreaper": nil} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			p := start(t, launch{wrap: wrap}, "sh", "-c", orphans)
			p.prints("done")
			p.until("all orphans to be reaped", func() bool { return len(childrenOf(p.pid())) == 1 })
			t.Logf("%-10s 1000 orphans reaped after %s, no zombie left", name, time.Since(began).Round(time.Millisecond))
			p.signal(syscall.SIGTERM)
			if got := p.code(); got != 6 {
				t.Errorf("exit status %d", got)
			}
		})
	}
}

// nobody is a user without rights.
const nobody = 65534

// In each surrounding everything works: configuration, logs, exec, signals and
// the exit status.
func TestInitSurroundings(t *testing.T) {
	for _, row := range []struct {
		name   string
		launch launch
		proof  string // a command that succeeds in that surrounding only
	}{
		{"PID 1", launch{wrap: asPID1()}, `test "$(cat /proc/1/comm)" = waypoint-entryp`},
		{"not PID 1", launch{}, `test "$PPID" != 1`},
		{"user 65534", launch{attr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}}, `test "$(id -u)" = 65534`},
		{"read-only root", launch{wrap: []string{"unshare", "--mount", "sh", "-ec",
			`for m in / /tmp; do ! mountpoint -q $m || mount -o remount,bind,ro $m; done; exec "$@"`, "sh"}},
			`! touch /x 2>/dev/null && ! touch /tmp/x 2>/dev/null`},
		{"no capabilities", launch{wrap: []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"}},
			`grep -q 'CapEff:.*0000000000000000' /proc/self/status && grep -q 'CapBnd:.*0000000000000000' /proc/self/status`},
		{"user 65534, no capabilities", launch{wrap: []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs",
			"--reuid=65534", "--regid=65534", "--clear-groups"}}, `test "$(id -u)" = 65534 && grep -q 'NoNewPrivs:.*1' /proc/self/status`},
		{"standard output closed", launch{wrap: []string{"sh", "-c", `exec "$@" >&-`, "sh"}}, `true`},
		{"standard streams closed", launch{wrap: []string{"sh", "-c", `exec "$@" <&- >&- 2>&-`, "sh"}}, `true`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			d := deploy(t)
			l := row.launch
			l.env = d.env(d.s.addr)
			p := start(t, l, built.child, "say", fmt.Sprint(childsCode))
			wait.For(t, patience, "the child's words in the log", func() bool { return strings.Contains(d.logs(), "\nready\n") })
			if log := d.logs(); !strings.Contains(log, fmt.Sprintf("%q", d.greeting)) {
				t.Errorf("the child does not have its configuration: %s", log)
			}
			out, code, err := d.exec(within(t, patience), d.instance().GetId(), "sh", "-c", row.proof+`; echo "$?"; exit 3`)
			if err != nil || code != 3 || out != "0\n" {
				t.Errorf("exec: status %d, %q, %v", code, out, err)
			}
			p.signal(syscall.SIGTERM)
			if got := p.code(); got != childsCode {
				t.Errorf("exit status %d", got)
			}
			if !strings.Contains(row.name, "closed") {
				p.intact()
			}
			t.Logf("%-30s configuration, logs, exec, signal, exit status after %s", row.name, time.Since(began).Round(time.Millisecond))
		})
	}
}

// Where nobody reads its output, a child waits as it would without us; what it
// has said is known all the same, and it can still be ended.
func TestInitWithBlockedOutput(t *testing.T) {
	const long = 500 * time.Millisecond // longer than a reader takes its time
	flood := func(l launch, argv ...string) (*program, int) {
		read, write, err := os.Pipe()
		check(t, err)
		t.Cleanup(func() { read.Close(); write.Close() })
		l.stdout = write
		p := start(t, l, argv...)
		var taken, pid int
		var since time.Time // of when nothing more was taken
		p.until("the child to be held back", func() bool {
			fields := strings.Fields(p.err.String())
			if len(fields) < 4 || !strings.HasSuffix(p.err.String(), "\n") {
				return false
			}
			_, _ = fmt.Sscan(fields[1], &pid)
			before := taken
			_, _ = fmt.Sscan(fields[len(fields)-1], &taken)
			if taken != before || !writesOutput(pid) {
				since = time.Now()
			}
			return time.Since(since) > long
		})
		return p, taken
	}
	const pipe = 64 // KiB that a pipe holds
	alone, without := flood(launch{bare: true}, built.child, "flood")
	check(t, alone.cmd.Process.Kill())
	d := deploy(t)
	p, with := flood(launch{env: d.env(d.s.addr, "WAYPOINT_ENTRYPOINT_GRACE=1s")}, built.child, "flood")
	t.Logf("held back after %d KiB alone, after %d KiB under the entrypoint", without, with)
	if with < without || with > without+2*pipe {
		t.Errorf("held back after %d KiB, want %d and at most two pipes more", with, without)
	}
	wait.For(t, patience, "the log", func() bool { return strings.Contains(d.logs(), fmt.Sprintf("line %d ", without)) })
	began := time.Now()
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 143 {
		t.Errorf("exit status %d", got)
	}
	t.Logf("ended %s after TERM, grace 1s", time.Since(began).Round(time.Millisecond))
}

// writesOutput tells whether a thread of a process is in write(2) to standard
// output.
func writesOutput(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	return slices.ContainsFunc(threads, func(path string) bool {
		where, _ := os.ReadFile(path)
		return strings.HasPrefix(string(where), fmt.Sprintf("%d 0x1 ", unix.SYS_WRITE))
	})
}

// A thousand short sessions beside a thousand orphans: no status gets lost.
func TestInitLosesNoExitStatus(t *testing.T) {
	const sessions, atATime = 1000, 32
	d := deploy(t)
	p := start(t, launch{env: d.env(d.s.addr)}, "sh", "-c", orphans)
	instance := d.instance().GetId()
	began := time.Now()
	next := make(chan int)
	var workers sync.WaitGroup
	for range atATime {
		workers.Go(func() {
			for n := range next {
				out, code, err := d.exec(within(t, time.Minute), instance, "sh", "-c", fmt.Sprintf("echo %d; exit %d", n, n%256))
				if err != nil || code != n%256 || out != fmt.Sprintf("%d\n", n) {
					t.Errorf("session %d: status %d, output %q, error %v", n, code, out, err)
				}
			}
		})
	}
	for n := range sessions {
		next <- n
	}
	close(next)
	workers.Wait()
	t.Logf("%d sessions, %d at a time, after %s", sessions, atATime, time.Since(began).Round(time.Millisecond))
	p.prints("done")
	p.until("all orphans to be reaped", func() bool { return len(childrenOf(p.pid())) == 1 })
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 6 {
		t.Errorf("exit status %d", got)
	}
}
