package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrSessionEnded is returned by Shell.Echo when the session is over.
var ErrSessionEnded = errors.New("the exec session ended")

// ErrNoAnswer is returned by Shell.Echo when neither an answer comes nor the
// session ends.
var ErrNoAnswer = errors.New("exec neither answers nor ends")

// answerLimit bounds the wait for what was sent to come back, or for the session
// to end.
const answerLimit = 20 * time.Second

// Shell is a running "waypoint exec -i -- cat": what is sent comes back.
type Shell struct {
	Limit time.Duration // of the wait for an answer; 20 s

	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string
	ended  chan struct{}
	stderr strings.Builder // complete once ended is closed
}

// StartShell opens the session in an instance of the project in WorkDir. Flags are
// more ones of "waypoint exec".
func (c *Cluster) StartShell(ctx context.Context, flags ...string) (*Shell, error) {
	args := slices.Concat([]string{"exec", "-i"}, flags, []string{"--", "cat"})
	s := &Shell{Limit: answerLimit, cmd: c.Command(ctx, args...), lines: make(chan string, 16), ended: make(chan struct{})}
	s.cmd.Stderr = &s.stderr
	var err error
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.ended)
		sc := bufio.NewScanner(stdout)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			select {
			case s.lines <- sc.Text():
			default: // nobody reads: Echo reports a wrong answer
			}
		}
		_ = s.cmd.Wait() // how it ended is in Reason
	}()
	return s, nil
}

// Echo sends a line and waits for it to come back.
func (s *Shell) Echo(text string) error {
	if _, err := fmt.Fprintln(s.stdin, text); err != nil {
		return ErrSessionEnded
	}
	timer := time.NewTimer(s.Limit)
	defer timer.Stop()
	select {
	case line := <-s.lines:
		if line != text {
			return fmt.Errorf("sent %q through exec, got %q", text, line)
		}
		return nil
	case <-s.ended:
		return ErrSessionEnded
	case <-timer.C:
		return ErrNoAnswer
	}
}

// Reason waits for the end of the session and returns what the CLI said of it.
func (s *Shell) Reason() string {
	<-s.ended
	return strings.TrimSpace(s.stderr.String())
}

// Stop ends the session and waits for the command.
func (s *Shell) Stop() {
	_ = s.stdin.Close()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	<-s.ended
}
