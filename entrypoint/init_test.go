package entrypoint

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/api/entrypointpb"
	"waypoint/internal/wait"
)

func TestExitStatusIsTheChilds(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	check(t, os.WriteFile(plain, []byte("text"), 0o600))
	for name, tt := range map[string]struct {
		argv []string
		want int
	}{
		"success":        {[]string{"true"}, 0},
		"failure":        {[]string{"sh", "-c", "exit 7"}, 7},
		"killed":         {[]string{"sh", "-c", "kill -9 $$"}, 137},
		"terminated":     {[]string{"sh", "-c", "kill -TERM $$"}, 143},
		"not there":      {[]string{"no-such-command"}, 127},
		"not there path": {[]string{"/no/such/command"}, 127},
		"not executable": {[]string{plain}, 126},
		"no command":     {nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := start(t, options{}, tt.argv...).code(); got != tt.want {
				t.Errorf("exit status %d, want %d", got, tt.want)
			}
		})
	}
}

func TestWithoutServersDescriptorsAreInheritedUntouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(path)
	check(t, err)
	defer out.Close()
	if got := start(t, options{stdout: out}, "readlink", "/proc/self/fd/1").code(); got != 0 {
		t.Fatal(got)
	}
	got, err := os.ReadFile(path)
	check(t, err)
	if strings.TrimSpace(string(got)) != path {
		t.Errorf("standard output is %s, want %s", got, path)
	}
}

// Every way in which the cluster can fail an entrypoint at its start ends the
// same: the child runs, and its exit status comes back.
func TestChildStartsWhateverTheServersDo(t *testing.T) {
	silent := listen(t)
	foreign := homes(t, 1)[0]
	refusing := homes(t, 1)[0]
	refusing.set(func() { refusing.refuse = fmt.Errorf("refused") })
	mute := homes(t, 1)[0] // attaches, and has no configuration to give
	_, otherPin := certificate(t)
	const soon = 300 * time.Millisecond
	for name, o := range map[string]options{
		"refused":     {addrs: []string{"127.0.0.1:1"}, ca: otherPin, wait: soon},
		"silent":      {addrs: []string{silent.Addr().String()}, ca: otherPin, wait: soon},
		"wrong CA":    {servers: []*home{foreign}, ca: otherPin, wait: soon},
		"bad CA":      {servers: []*home{foreign}, ca: "nonsense"},
		"bad address": {addrs: []string{"nonsense"}, ca: otherPin},
		"no token":    {servers: []*home{foreign}, token: "-"},
		"refusing":    {servers: []*home{refusing}, wait: soon},
		"mute":        {servers: []*home{mute}, wait: soon},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, o, "sh", "-c", "echo started; exit 5")
			if got := p.code(); got != 5 {
				t.Errorf("exit status %d", got)
			}
			if p.out.String() != "started\n" {
				t.Errorf("output %q", p.out.String())
			}
		})
	}
}

func TestSignalsReachTheChild(t *testing.T) {
	p := start(t, options{}, "sh", "-c", `
		for s in HUP USR1 USR2 WINCH QUIT ALRM; do trap "echo got $s" $s; done
		trap "echo bye; exit 9" TERM
		echo ready
		while :; do sleep 60 & wait $!; kill $! 2>/dev/null; done`)
	p.prints("ready")
	for sig, name := range map[syscall.Signal]string{
		syscall.SIGHUP: "HUP", syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2",
		syscall.SIGWINCH: "WINCH", syscall.SIGQUIT: "QUIT",
	} {
		p.signal(sig)
		p.prints("got " + name)
	}
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 9 {
		t.Errorf("exit status %d", got)
	}
}

// Whatever can be caught is passed on. A shell knows no names for them all, so
// the child is this test binary.
func TestSignalsOfEveryKindReachTheChild(t *testing.T) {
	p := start(t, options{}, os.Args[0], asEcho)
	p.prints("ready")
	for n := 1; n <= 64; n++ {
		sig := syscall.Signal(n)
		switch sig {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE: // are about us
		case syscall.SIGTERM, syscall.SIGINT: // begin the end
		case syscall.SIGPROF, 32, 33, 34: // the Go runtime of the child cannot catch them
		default:
			p.signal(sig)
			p.prints(fmt.Sprintf("got %d.", n))
		}
	}
	p.signal(syscall.SIGTERM)
	p.prints("got 15.")
	if got := p.code(); got != 0 {
		t.Errorf("exit status %d", got)
	}
}

// The first real-time signal that glibc has for programs is among them.
func TestSignalsThatTheRuntimeKeepsReachTheChild(t *testing.T) {
	for _, sig := range []syscall.Signal{34, syscall.SIGPROF} {
		p := start(t, options{}, "sh", "-c", fmt.Sprintf(`trap "echo got it" %d; echo ready; while :; do sleep 60 & wait $!; done`, sig))
		p.prints("ready")
		for n := range 3 {
			p.signal(sig)
			wait.For(t, patience, "the signal", func() bool { return strings.Count(p.out.String(), "got it") == n+1 })
		}
		p = start(t, options{}, "sh", "-c", `echo ready; exec sleep 60`)
		p.prints("ready")
		p.signal(sig)
		if got := p.code(); got != 128+int(sig) {
			t.Errorf("exit status %d after signal %d", got, sig)
		}
	}
}

func TestClosedStandardOutputDoesNoHarm(t *testing.T) {
	for _, o := range []options{{}, {servers: homes(t, 1), wait: time.Millisecond}} {
		cmd := exec.Command("sh", "-c", `exec "$@" <&- >&- 2>&-`, "sh", os.Args[0], asEntrypoint, "sh", "-c", "echo a; echo b >&2; exit 6")
		cmd.Env = o.environ()
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != 6 {
			t.Errorf("exit status %d", got)
		}
	}
}

// Nobody reads what we write: the child waits for that only where it would
// without us, and ends when it is told to.
func TestBlockedOutputsKeepNobodyFromStartingAndEnding(t *testing.T) {
	full := func() *os.File {
		from, to, err := os.Pipe()
		check(t, err)
		t.Cleanup(func() { from.Close() })
		check(t, to.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		for err == nil {
			_, err = to.Write(make([]byte, 4096))
		}
		return to
	}
	started := filepath.Join(t.TempDir(), "started")
	stdout, stderr := full(), full()
	cmd := exec.Command(os.Args[0], asEntrypoint, "sh", "-c", `trap "exit 8" TERM; : >`+started+`; while :; do sleep 60 & wait $!; done`)
	o := options{servers: homes(t, 1), wait: time.Millisecond, grace: time.Second}
	cmd.Env = append(o.environ(), EnvLogBytes+"=wrong")
	cmd.Stdout, cmd.Stderr = stdout, stderr
	check(t, cmd.Start())
	stdout.Close()
	stderr.Close()
	wait.For(t, patience, "the start", func() bool { _, err := os.Stat(started); return err == nil })
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 8 {
		t.Errorf("exit status %d", got)
	}
}

// Without root there is less that can be done: no capability, no files.
func TestWorksWithoutPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then every test is one of this
	}
	dir := t.TempDir()
	check(t, os.Chmod(dir, 0o755))
	h := homes(t, 1)
	h[0].send(config(1, "A", "1"), func(c *entrypointpb.Config) {
		c.Files = []*entrypointpb.ConfigFile{configFile(dir+"/x", "x")}
	})
	binary := filepath.Join(dir, "entrypoint")
	text, err := os.ReadFile(os.Args[0])
	check(t, err)
	check(t, os.WriteFile(binary, text, 0o755))
	for above := filepath.Dir(dir); above != "/tmp" && above != "/"; above = filepath.Dir(above) {
		check(t, os.Chmod(above, 0o755))
	}
	var out, stderr wait.Buffer
	cmd := exec.Command(binary, asEntrypoint, "sh", "-c", "(sh -c 'exit 4' &); echo A=$A; exit 5")
	cmd.Env, cmd.Dir = options{servers: h}.environ(), "/"
	cmd.Stdout, cmd.Stderr = &out, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != 5 || out.String() != "A=1\n" || !strings.Contains(stderr.String(), "permission denied") {
		t.Errorf("exit status %d, %q, %q", got, out.String(), stderr.String())
	}
}

func TestChildThatIgnoresTermIsKilledAfterItsGrace(t *testing.T) {
	p := start(t, options{grace: 200 * time.Millisecond}, "sh", "-c", `trap "" TERM; echo ready; while :; do sleep 60; done`)
	p.prints("ready")
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 137 {
		t.Errorf("exit status %d", got)
	}
}

func TestSecondSignalShortensTheGrace(t *testing.T) {
	p := start(t, options{grace: time.Hour}, "sh", "-c", `trap "echo term" TERM; echo ready; while :; do sleep 60 & wait $!; done`)
	p.prints("ready")
	p.signal(syscall.SIGTERM)
	p.prints("term")
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 137 {
		t.Errorf("exit status %d", got)
	}
}

func TestSignalBeforeTheChildStartsEndsTheEntrypoint(t *testing.T) {
	h := homes(t, 1)
	p := start(t, options{servers: h}, "echo", "started")
	h[0].until("the attach", func() bool { return len(h[0].hellos) == 1 })
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 143 || p.out.String() != "" {
		t.Errorf("exit status %d, output %q", got, p.out.String())
	}
}

func TestTheProcessGroupIsNotLeftBehind(t *testing.T) {
	p := start(t, options{grace: 300 * time.Millisecond}, "sh", "-c", `
		sleep 600 & echo soft $!.
		sh -c 'trap "" TERM; echo hard $$.; while :; do sleep 60; done' &
		while [ ! -e /proc/$!/stat ]; do :; done
		exit 3`)
	if got := p.code(); got != 3 {
		t.Errorf("exit status %d", got)
	}
	for _, field := range strings.Fields(p.out.String()) {
		if pid, ok := strings.CutSuffix(field, "."); ok && alive(pid) {
			t.Errorf("process %s is left: %s", pid, p.out.String())
		}
	}
}

// A process that is just forking may lose a signal: it is sent again.
func TestWhatTheChildLeavesBehindIsAskedToEndMoreThanOnce(t *testing.T) {
	t.Parallel()
	p := start(t, options{grace: time.Hour}, "sh", "-c", `
		sh -c 'trap "trap - TERM" TERM; echo deaf $$.; while :; do sleep 60 & wait $!; done' &
		while ! grep -q SigCgt:.*4... /proc/$!/status; do :; done
		exit 3`)
	if got := p.code(); got != 3 {
		t.Errorf("exit status %d", got)
	}
}

// A zombie stays in its process group until its parent waits for it, which may
// have left the group and never do so.
func TestWhatCannotBeEndedDoesNotHoldUpTheExitStatus(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pid")
	p := start(t, options{grace: 100 * time.Millisecond}, "sh", "-c", `
		(sleep 600 & exec setsid sh -c 'echo $$ >`+path+`; exec sleep 600') &
		while [ ! -s `+path+` ]; do sleep 0.01; done
		exit 3`)
	if got := p.code(); got != 3 {
		t.Errorf("exit status %d", got)
	}
	pid, err := os.ReadFile(path)
	check(t, err)
	parent, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	check(t, err)
	check(t, syscall.Kill(parent, syscall.SIGKILL))
	p.complains("going on without it")
}

func TestOrphansAreReaped(t *testing.T) {
	p := start(t, options{}, "sh", "-c", `
		i=0; while [ $i -lt 50 ]; do (sh -c 'exit 4' &) ; i=$((i+1)); done
		trap "exit 6" TERM
		echo done; while :; do sleep 60 & wait $!; done`)
	p.prints("done")
	wait.For(t, patience, "zombies to go", func() bool { return len(childrenOf(t, p.cmd.Process.Pid)) == 1 })
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 6 {
		t.Errorf("exit status %d", got)
	}
}

// childrenOf lists a process's children, zombies too.
func childrenOf(t *testing.T, parent int) []string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	check(t, err)
	return slices.DeleteFunc(stats, func(path string) bool {
		stat, err := os.ReadFile(path)
		_, after, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(after)
		return err != nil || len(fields) < 2 || fields[1] != strconv.Itoa(parent)
	})
}

func TestTokenIsNeitherInheritedNorInTheProcessTable(t *testing.T) {
	const secret = "wp1_this-is-the-secret"
	h := homes(t, 1)
	h[0].set(func() { h[0].config = config(1, "A", "1") })
	p := start(t, options{servers: h, token: secret}, "sh", "-c", "env; echo ready; sleep 60")
	p.prints("ready")
	if strings.Contains(p.out.String(), secret) || strings.Contains(p.out.String(), ownPrefix) {
		t.Errorf("the child has it: %s", p.out.String())
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.cmd.Process.Pid))
	check(t, err) // tests that run as root may read it
	if !strings.Contains(string(environ), EnvToken+"=") || strings.Contains(string(environ), secret) {
		t.Errorf("environ is %q", environ)
	}
	info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", p.cmd.Process.Pid))
	check(t, err)
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 {
		t.Errorf("owned by %d: the process can be dumped", owner)
	}
}

func TestTokenCanComeFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	check(t, os.WriteFile(path, []byte("from-file\n"), 0o600))
	cfg, err := DefaultConfig().FromEnviron([]string{"true"}, []string{EnvAddr + "=a:1, b:2", EnvTokenFile + "=" + path, "A=1"})
	check(t, err)
	if cfg.Token != "from-file" || cfg.Problem != nil || !slices.Equal(cfg.Addrs, []string{"a:1", "b:2"}) {
		t.Errorf("%+v", cfg)
	}
	if !slices.Equal(cfg.Env, []string{"A=1"}) {
		t.Errorf("child's environment: %v", cfg.Env)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { lis.Close() })
	return lis
}
