package entrypoint

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/internal/wait"
)

const (
	idleFor = 30 * time.Second
	settled = 3 * time.Second        // after which an attached entrypoint has nothing more to begin
	burst   = 300 * time.Millisecond // what is done without a longer pause is one wakeup
	// In that time, our own ping each 10 s, a look whether the connection has
	// been heard of each 10 s, a question for the members each minute or so,
	// and the runtime's own each 2 minutes: 3 + 3 + 1 + 1.
	mostWakeups = 8
)

// tracedCall is a line of strace: time, what was called, and how it ended.
var tracedCall = regexp.MustCompile(`^(\d+) +(\d\d:\d\d:\d\d\.\d+) (.*)$`)

// An attached entrypoint with nothing to do sleeps: no timer is faster than
// 10 s, no file is touched, nobody is listened for.
func TestIdle(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	n := newNetwork(t, "")
	open(t, n.listen("127.0.0.1"+port), forward(d.s.addr, 0))
	p := start(t, launch{network: n, env: d.env("127.0.0.1" + port)}, "sleep", "600")
	d.instance()
	child := p.runs("sleep")
	path := filepath.Join(t.TempDir(), "trace")
	trace := exec.Command("strace", "-f", "-y", "-tt", "-qq", "-o", path, "-p", fmt.Sprint(p.pid()))
	check(t, trace.Start())
	over := time.After(settled + idleFor)
	notListening(t, p.pid())
	<-over
	check(t, trace.Process.Signal(syscall.SIGINT))
	_ = trace.Wait()
	if got := childrenOf(p.pid()); len(got) != 1 || got[0] != child {
		t.Errorf("the entrypoint has the children %v, want %d", got, child)
	}
	text, err := os.ReadFile(path)
	check(t, err)
	wakeups := judge(t, string(text))
	t.Logf("%d wakeups in %s: %s", len(wakeups), idleFor, strings.Join(wakeups, ", "))
	if len(wakeups) > mostWakeups {
		t.Errorf("%d wakeups in %s, at most %d belong to timers of 10 s and more", len(wakeups), idleFor, mostWakeups)
	}
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 143 {
		t.Errorf("exit status %d", got)
	}
}

// judge checks a trace and returns when, and by what, the process was woken.
func judge(t *testing.T, text string) (wakeups []string) {
	t.Helper()
	var first, last time.Time
	known := true // what began this burst of calls
	for line := range strings.Lines(text) {
		parts := tracedCall.FindStringSubmatch(strings.TrimSpace(line))
		if parts == nil {
			continue
		}
		at, err := time.Parse("15:04:05.000000", parts[2])
		check(t, err)
		if first.IsZero() {
			first = at
		}
		if at.Sub(first) < settled {
			continue
		}
		call := parts[3]
		if touchesFile(call) {
			t.Errorf("a file is touched: %s", call)
		}
		if at.Sub(last) > burst {
			wakeups = append(wakeups, at.Sub(first).Round(10*time.Millisecond).String())
			known = false
		}
		last = at
		if by := wokenBy(call); !known && by != "" {
			wakeups[len(wakeups)-1] += " " + by
			known = true
		}
	}
	if first.IsZero() {
		t.Fatal("strace has traced nothing")
	}
	return wakeups
}

// wokenBy tells from the end of a call what woke the process, if it was that.
// The runtime's own watcher runs a few naps beside whatever happens.
func wokenBy(call string) string {
	switch {
	case !strings.Contains(call, "epoll_pwait"):
		return ""
	case strings.HasSuffix(call, ", 0, NULL, 0) = 0"), strings.HasSuffix(call, "<unfinished ...>"):
		return "" // a look
	case strings.HasSuffix(call, " = 0"):
		return "timer"
	}
	return "network"
}

// touchesFile tells whether a call is about a file that is neither a socket, a
// pipe nor one of the kernel's event descriptors.
func touchesFile(call string) bool {
	call = strings.TrimPrefix(call, "<... ")
	name, rest, _ := strings.Cut(call, "(")
	switch name {
	case "open", "openat", "openat2", "stat", "lstat", "newfstatat", "statx", "unlink", "unlinkat", "rename", "renameat2", "mkdir", "readlinkat", "creat":
		return true
	case "read", "write", "pread64", "pwrite64", "readv", "writev", "getdents64", "fsync", "fdatasync", "ftruncate":
		return strings.Contains(rest[:min(len(rest), 60)], "</")
	}
	return false
}

// notListening checks that no socket of a process waits for connections or
// packets.
func notListening(t *testing.T, pid int) {
	t.Helper()
	own := map[string]bool{}
	wait.For(t, patience, "its sockets", func() bool {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, link := range links {
			to, _ := os.Readlink(link)
			if inode, ok := strings.CutPrefix(to, "socket:["); ok {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
		return len(own) > 0
	})
	const listening, inodeField = "0A", 9
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		check(t, err)
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) <= inodeField || !own[fields[inodeField]] {
				continue
			}
			if fields[3] == listening || !strings.HasPrefix(table, "tcp") {
				t.Errorf("the entrypoint has a socket that waits for others: %s %s", table, line)
			}
			t.Logf("its socket: %s state %s", table, fields[3])
		}
	}
}
