package entrypoint

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/internal/ids"
	"waypoint/internal/wait"
)

const (
	patience = 30 * time.Second
	markName = "WAYPOINT_TEST_RUN" // in the environment of everything that a test starts
)

// launch is how a test starts an entrypoint.
type launch struct {
	network *network // nil: the system's
	env     []string
	wrap    []string // a command that starts the entrypoint
	attr    *syscall.SysProcAttr
	stdin   *os.File
	stdout  *os.File // instead of the buffer
	stderr  *os.File
	bare    bool // start the command itself, without an entrypoint
}

// program is a running entrypoint.
type program struct {
	t        *testing.T
	cmd      *exec.Cmd
	wrapped  bool
	mark     string
	out, err wait.Buffer
	began    time.Time
	exited   chan struct{}
}

// start runs a command under an entrypoint until it or the test ends.
func start(t *testing.T, l launch, argv ...string) *program {
	t.Helper()
	p := &program{t: t, wrapped: len(l.wrap) > 0, mark: markName + "=" + ids.New(), exited: make(chan struct{})}
	if !l.bare {
		argv = append(append(append([]string{}, l.wrap...), built.entrypoint), argv...)
	}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), p.mark}, l.env...)
	p.cmd.Dir = built.dir // which every user may enter
	p.cmd.SysProcAttr = l.attr
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if l.stdout != nil {
		p.cmd.Stdout = l.stdout
	}
	if l.stderr != nil {
		p.cmd.Stderr = l.stderr
	}
	if l.stdin != nil {
		p.cmd.Stdin = l.stdin
	}
	p.cmd.WaitDelay = time.Second
	p.began = time.Now()
	if l.network != nil {
		check(t, l.network.do(p.cmd.Start))
	} else {
		check(t, p.cmd.Start())
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(p.end)
	return p
}

// end ends the program and makes sure that nothing of it is left.
func (p *program) end() {
	if !p.ended() {
		_ = syscall.Kill(p.pid(), syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(patience):
			p.t.Errorf("the entrypoint does not end when it is asked to")
			_ = p.cmd.Process.Kill()
			<-p.exited
		}
	}
	left := marked(p.mark)
	for limit := time.Now().Add(5 * time.Second); len(left) > 0 && time.Now().Before(limit); {
		left = marked(p.mark)
	}
	for _, pid := range left {
		p.t.Errorf("process %d is left behind: %s", pid, commandLine(pid))
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if p.t.Failed() {
		p.t.Logf("stdout: %.3000s\nstderr: %.6000s", p.out.String(), p.err.String())
	}
}

func (p *program) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// pid is the number of the entrypoint's process.
func (p *program) pid() int {
	if !p.wrapped {
		return p.cmd.Process.Pid
	}
	for pid := p.cmd.Process.Pid; ; {
		if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); exe == built.entrypoint {
			return pid
		}
		children := childrenOf(pid)
		if len(children) == 0 {
			return p.cmd.Process.Pid
		}
		pid = children[0]
	}
}

// signal sends a signal to the entrypoint.
func (p *program) signal(sig syscall.Signal) {
	p.t.Helper()
	check(p.t, syscall.Kill(p.pid(), sig))
}

// code waits for the end and returns the exit status as a shell tells it.
func (p *program) code() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatal("the entrypoint does not end")
	}
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		p.t.Errorf("the entrypoint itself was killed: %s", status.Signal())
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// prints waits until standard output holds a text.
func (p *program) prints(text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%q on standard output", text), func() bool { return strings.Contains(p.out.String(), text) })
}

// complains waits until standard error holds a text.
func (p *program) complains(text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%q on standard error", text), func() bool { return strings.Contains(p.err.String(), text) })
}

func (p *program) until(what string, done func() bool) {
	p.t.Helper()
	wait.For(p.t, patience, what, done)
}

// greeting is what a child of the mode "say" prints first.
type greeting struct {
	after time.Duration // since the entrypoint was started
	pid   int
	text  string
}

// greets waits for the n-th start of the child.
func (p *program) greets(n int) greeting {
	p.t.Helper()
	var line string
	p.until(fmt.Sprintf("start %d of the child", n), func() bool {
		seen := 0
		for text := range strings.Lines(p.out.String()) {
			if strings.HasPrefix(text, "started ") && strings.HasSuffix(text, "\n") {
				seen++
				line = text
			}
		}
		return seen >= n
	})
	var at int64
	var g greeting
	_, err := fmt.Sscanf(line, "started %d %d %q\n", &at, &g.pid, &g.text)
	check(p.t, err)
	g.after = time.Unix(0, at).Sub(p.began)
	return g
}

// intact checks that everything that a child of the mode "say" has written, at
// each of its starts, came through.
func (p *program) intact() {
	p.t.Helper()
	var out, err strings.Builder
	for i := range 100 {
		fmt.Fprintf(&out, "out %d\n", i)
		fmt.Fprintf(&err, "err %d\n", i)
	}
	starts := strings.Count(p.out.String(), "started ")
	if got := strings.Count(p.out.String(), out.String()+"ready\nended\n"); got != starts {
		p.t.Errorf("standard output came through at %d of %d starts", got, starts)
	}
	var childs strings.Builder
	for text := range strings.Lines(p.err.String()) {
		if strings.HasPrefix(text, "err ") {
			childs.WriteString(text)
		}
	}
	if childs.String() != strings.Repeat(err.String(), starts) {
		p.t.Errorf("standard error did not come through at each of %d starts: %q", starts, childs.String())
	}
}

// says counts the lines of the entrypoint's own log that hold a text.
func (p *program) says(text string) (lines []string) {
	for line := range strings.Lines(p.err.String()) {
		if strings.Contains(line, "waypoint-entrypoint: ") && strings.Contains(line, text) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// stat is the fields of a process after its name: proc(5) counts them from 3.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

// alive tells whether a process exists and is not a zombie.
func alive(pid int) bool {
	fields := stat(pid)
	return fields != nil && fields[0] != "Z"
}

// childrenOf lists a process's children, zombies too.
func childrenOf(parent int) (children []int) {
	for _, pid := range processes() {
		if fields := stat(pid); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children
}

// marked lists the live processes that have a mark in their environment.
func marked(mark string) (pids []int) {
	for _, pid := range processes() {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && bytes.Contains(environ, []byte(mark)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func processes() (pids []int) {
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range paths {
		if pid, err := strconv.Atoi(filepath.Base(path)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func commandLine(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.ReplaceAll(string(text), "\x00", " ")
}
