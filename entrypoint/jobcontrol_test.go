package entrypoint

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"waypoint/internal/wait"
)

// jobShell is an interactive shell on a terminal of its own.
type jobShell struct {
	t        *testing.T
	terminal *os.File // our side
	pid      int
	out      wait.Buffer
}

const ctrlZ = "\x1a"

func newJobShell(t *testing.T, env ...string) *jobShell {
	t.Helper()
	controller, terminal, err := openPTY()
	check(t, err)
	cmd := exec.Command("sh", "-i")
	cmd.Env = append(options{}.environ(), "PS1=$ ", "WP="+os.Args[0]+" "+asEntrypoint, "HISTFILE=")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(t, cmd.Start())
	terminal.Close()
	s := &jobShell{t: t, terminal: controller, pid: cmd.Process.Pid}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		for {
			b := make([]byte, 1024)
			n, err := controller.Read(b)
			_, _ = s.out.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		// What is left of the session is ended whole.
		for _, pid := range sessionMembers(cmd.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = cmd.Wait()
		controller.Close()
		<-copied
		if t.Failed() {
			t.Logf("terminal: %.4000q", s.out.String())
		}
	})
	return s
}

// types types text and waits until the terminal shows all of some others.
func (s *jobShell) types(text string, shows ...string) {
	s.t.Helper()
	from := len(s.out.String())
	_, err := s.terminal.WriteString(text)
	check(s.t, err)
	s.shows(from, shows...)
}

func (s *jobShell) shows(from int, texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		wait.For(s.t, patience, text+" on the terminal", func() bool { return strings.Contains(s.out.String()[from:], text) })
	}
}

// The app that says so when it is continued, and reads a line.
const typist = `'trap "echo goes on" CONT; echo ready$((1+1)); while ! read x; do :; done; echo got $x'`

func TestCtrlZGivesThePromptBack(t *testing.T) {
	s := newJobShell(t)
	s.types("$WP sh -c "+typist+"\n", "ready2")
	for range 2 {
		s.types(ctrlZ, "Stopped")
		s.types("echo $((20+3))\n", "23") // the prompt is back
		s.types("fg\n", "\ngoes on")      // not only the shell's word of what goes on
	}
	s.types("word\n", "got word")
	s.types("echo $? $((40+5))\n", "0 45")
}

func TestCtrlZStopsTheWaitForAConfiguration(t *testing.T) {
	s := newJobShell(t, EnvRequireConfig+"=1")
	s.types("$WP echo started\n", "no configuration can come")
	s.types(ctrlZ, "Stopped")
	s.types("echo $((20+3))\n", "23")
	from := len(s.out.String())
	s.types("fg\n", "echo started")
	wait.For(t, patience, "the job to have the terminal", func() bool {
		group, err := foreground(s.terminal)
		check(t, err)
		return group != s.pid
	})
	s.types("\x03") // Ctrl-C
	s.types("echo ended $?\n", "ended 130")
	if strings.Contains(s.out.String()[from:], "\nstarted") {
		t.Error("the command was started")
	}
}

func TestBackgroundJobThatReadsStopsUntilItIsInTheForeground(t *testing.T) {
	s := newJobShell(t)
	// It is stopped by SIGTTIN, and the shell is told.
	s.types("$WP sh -c "+typist+" &\n", "ready2")
	s.types("echo pid$!.\n", ".\r\n", "\r\npid")
	_, after, _ := strings.Cut(s.out.String(), "\r\npid")
	pid, _, _ := strings.Cut(after, ".")
	wait.For(t, patience, "the entrypoint to stop", func() bool { return stateOf(t, "/proc/"+pid+"/stat") == "T" })
	s.types("fg\n", "\ngoes on") // not only the shell's word of what goes on
	s.types("word\n", "got word")
}

func TestStoppedJobContinuesInTheBackground(t *testing.T) {
	s := newJobShell(t)
	s.types(`$WP sh -c 'trap "echo goes on; exit 0" CONT; echo ready$((1+1)); while :; do sleep 60 & wait $!; done'`+"\n", "ready2")
	s.types(ctrlZ, "Stopped")
	s.types("bg\n", "goes on")
	s.types("wait; echo $((20+3))\n", "23")
}

// The child is in the foreground and the terminal stops what writes from its
// background: our own words are not among that.
func TestOwnWordsStopNobody(t *testing.T) {
	h := homes(t, 1)
	h[0].set(func() { h[0].config = config(1, "A", "1") })
	s := newJobShell(t, options{servers: h}.environ()...)
	s.types("stty tostop; $WP sh -c '"+strings.ReplaceAll(loyal, "'", `"`)+"'\n", "A=1")
	h[0].configure(2, "A", "2")
	s.shows(0, "restarting the command", "A=2")
	s.types(ctrlZ, "Stopped")
}

// Nobody would continue a session leader: Ctrl-Z stops its child and not
// itself.
func TestWithoutAShellNobodyStopsWithTheChild(t *testing.T) {
	controller, terminal, err := openPTY()
	check(t, err)
	defer controller.Close()
	cmd := exec.Command(os.Args[0], asEntrypoint, "sh", "-c", `
		trap "echo goes on" CONT; trap "exit 7" USR1; echo ready; while :; do sleep 60 & wait $!; done`)
	cmd.Env = options{}.environ()
	var out wait.Buffer
	cmd.Stdin, cmd.Stdout = terminal, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(t, cmd.Start())
	terminal.Close()
	wait.For(t, patience, "the child", func() bool { return strings.Contains(out.String(), "ready") })
	_, err = controller.WriteString(ctrlZ)
	check(t, err)
	wait.For(t, patience, "the child to stop", func() bool { return stateOf(t, childOf(t, cmd.Process.Pid)) == "T" })
	check(t, cmd.Process.Signal(syscall.SIGCONT))
	wait.For(t, patience, "the child to go on", func() bool { return strings.Contains(out.String(), "goes on") })
	check(t, cmd.Process.Signal(syscall.SIGUSR1))
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 7 {
		t.Errorf("exit status %d", got)
	}
}

// A script knows no job control: what comes after us reads the terminal too.
func TestTerminalIsGivenBack(t *testing.T) {
	s := newJobShell(t)
	s.types(`sh -c '$WP true; echo ready$((1+1)); read x; echo got $x'`+"\n", "ready2")
	s.types("word\n", "got word")
}

func TestStoppedChildEndsWhenAsked(t *testing.T) {
	p := start(t, options{}, "sh", "-c", `trap "exit 9" TERM; echo ready; while :; do sleep 60 & wait $!; done`)
	p.prints("ready")
	p.signal(syscall.SIGTSTP)
	wait.For(t, patience, "the child to stop", func() bool { return stateOf(t, childOf(t, p.cmd.Process.Pid)) == "T" })
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 9 {
		t.Errorf("exit status %d", got)
	}
}

// childOf is the only child of a process.
func childOf(t *testing.T, parent int) string {
	t.Helper()
	children := childrenOf(t, parent)
	if len(children) != 1 {
		t.Fatalf("children of %d: %q", parent, children)
	}
	return children[0]
}

// stateOf is the state in a /proc/PID/stat.
func stateOf(t *testing.T, path string) string {
	t.Helper()
	stat, err := os.ReadFile(path)
	check(t, err)
	_, after, _ := strings.Cut(string(stat), ") ")
	return after[:1]
}
