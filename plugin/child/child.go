// Package child runs a command of the project file: a build or a hook. The
// command is a process group of its own, so that nothing of it is left when it
// is over, and it ends with its context.
//
// It must not know what the command is for.
package child

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"waypoint/errs"
)

// grace is the time between asking a command to end and killing it.
const grace = 5 * time.Second

// Command is what to run.
type Command struct {
	Args   []string // at least one word; the first is looked up in PATH
	Dir    string
	Env    map[string]string // added to Environ
	Output io.Writer         // takes stdout and stderr
}

// Run runs the command until it exits. When ctx ends its process group gets
// SIGTERM, and SIGKILL 5 s later. An exit status other than 0 is an error.
func Run(ctx context.Context, c Command) error {
	if len(c.Args) == 0 {
		return errs.New(errs.Invalid, "the command is empty")
	}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = Environ(c.Env)
	cmd.Stdout, cmd.Stderr = c.Output, c.Output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return errs.New(errs.Invalid, "start %s: %w", c.Args[0], err)
	}
	err := cmd.Wait()
	// Whatever the command has left in its group has lost its purpose. The
	// group's id is safe to use: if nobody is in it, nobody can have taken it
	// over but by a wrap of all pids since Wait.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if ctx.Err() != nil {
		return errs.New(errs.Canceled, "%s: stopped: %w", c.Args[0], context.Cause(ctx))
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it exited with 0 and left a process behind that held its output
	}
	if err != nil {
		return errs.New(errs.Invalid, "%s: %w", strings.Join(c.Args, " "), err)
	}
	return nil
}

// Environ is this process's environment without Waypoint's own variables,
// which hold its user's token, and with extra in addition.
func Environ(extra map[string]string) []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "WAYPOINT_") {
			env = append(env, entry)
		}
	}
	for name, value := range extra {
		env = append(env, name+"="+value)
	}
	return env
}
