package entrypoint

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"waypoint/internal/ids"
	"waypoint/internal/wait"
)

// terminal is an interactive shell on a terminal of its own.
type terminal struct {
	t      *testing.T
	screen wait.Buffer
	keys   *os.File
	read   int // bytes of the screen that have been looked at
}

// shell starts one with the entrypoint in its PATH.
func shell(t *testing.T) *terminal {
	t.Helper()
	keys, end := pseudoTerminal(t)
	mark := markName + "=" + ids.New()
	cmd := exec.Command("bash", "--noprofile", "--norc", "-i")
	cmd.Env = []string{"PATH=" + built.dir + ":" + os.Getenv("PATH"), "PS1=% ", "TERM=dumb", "HISTFILE=", mark}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = end, end, end
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(t, cmd.Start())
	end.Close()
	s := &terminal{t: t, keys: keys}
	var reading sync.WaitGroup
	reading.Go(func() {
		for buffer := make([]byte, 4096); ; {
			n, err := keys.Read(buffer)
			_, _ = s.screen.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for _, pid := range marked(mark) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		wait.For(t, patience, "everything on the terminal to end", func() bool { return len(marked(mark)) == 0 })
		keys.Close()
		reading.Wait()
		if t.Failed() {
			t.Logf("the screen:\n%s", s.screen.String())
		}
	})
	s.shows("% ")
	return s
}

// pseudoTerminal returns both sides of one.
func pseudoTerminal(t *testing.T) (controller, end *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	check(t, err)
	controller = os.NewFile(uintptr(fd), "/dev/ptmx")
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	check(t, err)
	check(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	end, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	check(t, err)
	return controller, end
}

// types presses keys.
func (s *terminal) types(keys string) {
	s.t.Helper()
	_, err := s.keys.WriteString(keys)
	check(s.t, err)
}

// shows waits until a text has appeared after what was looked at before.
func (s *terminal) shows(text string) {
	s.t.Helper()
	wait.For(s.t, patience, strconv.Quote(text)+" on the screen", func() bool {
		screen := s.screen.String()
		at := strings.Index(screen[s.read:], text)
		if at < 0 {
			return false
		}
		s.read += at + len(text)
		return true
	})
}

// echoing is a command that says what is typed.
const echoing = "sh -c 'echo begun; exec cat'"

// Ctrl-Z gives the prompt back and fg goes on, as for any command of a shell.
func TestSignalsOfATerminal(t *testing.T) {
	t.Run("stop and continue", func(t *testing.T) {
		s := shell(t)
		s.types("waypoint-entrypoint " + echoing + "\n")
		s.shows("\r\nbegun\r\n")
		s.types("first\n")
		s.shows("first\r\nfirst\r\n") // what was typed, and what cat says
		for range 3 {
			began := time.Now()
			s.types("\x1a")
			s.shows("Stopped")
			s.shows("% ")
			t.Logf("Ctrl-Z: prompt after %s", time.Since(began).Round(time.Millisecond))
			s.types("echo the $((40+2)) prompt\n")
			s.shows("the 42 prompt\r\n")
			s.shows("% ")
			s.types("fg\n")
			s.shows(echoing + "\r\n")
			s.types("again\n")
			s.shows("again\r\nagain\r\n")
			t.Logf("fg: the command goes on")
		}
		s.types("\x04")
		s.shows("% ")
		s.types("echo status=$?\n")
		s.shows("status=0\r\n")
	})
	t.Run("interrupt", func(t *testing.T) {
		s := shell(t)
		s.types("waypoint-entrypoint " + echoing + "\n")
		s.shows("\r\nbegun\r\n")
		s.types("first\n")
		s.shows("first\r\nfirst\r\n")
		s.types("\x03")
		s.shows("% ")
		s.types("echo status=$?\n")
		s.shows("status=130\r\n")
		t.Logf("Ctrl-C: exit status 130")
	})
	t.Run("continue in the background", func(t *testing.T) {
		s := shell(t)
		s.types("waypoint-entrypoint sh -c 'trap \"echo end; exit 5\" TERM; echo begun; while :; do sleep 60 & wait $!; done'\n")
		s.shows("\r\nbegun\r\n")
		s.types("\x1a")
		s.shows("Stopped")
		s.shows("% ")
		s.types("bg\n")
		s.shows("% ")
		s.types("kill %1; wait %1; echo status=$?\n")
		s.shows("status=5\r\n")
		t.Logf("bg, TERM: exit status 5")
	})
}
