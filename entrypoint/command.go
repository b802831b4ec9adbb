package entrypoint

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"waypoint/api/execpb"
	"waypoint/internal/replay"
)

const (
	chunk      = replay.BlockSize // bytes of output in one message
	endOfText  = 4                // what a terminal takes as end of file
	hangUpWait = time.Second      // for what a hangup ends; less than tidyUp, so that the rest is killed in time

	// When the command has ended its output is over after a silence, or a time
	// if something that it has left behind goes on writing, plus what a pipe
	// can hold, since that may be of the command itself.
	lastOutput   = 100 * time.Millisecond
	othersOutput = 10 * time.Second
	closedOutput = time.Second // when the other side has asked for the end
	lateOutput   = 1 << 20
)

// command is the command of one exec session and our ends of its files.
type command struct {
	reaper  *reaper
	process *process
	terms   *os.File // our side of its terminal; nil without one
	stdin   *os.File // nil: nothing is sent to it
	outputs []*output
	closing sync.Once
	asked   chan struct{} // holds a token when the other side has asked for the end
}

// output is one stream that comes from a command.
type output struct {
	from  *os.File
	until atomic.Pointer[time.Time] // when it is to be over; nil while the command runs
}

// openFiles makes the command's files, and keeps our ends.
func (c *command) openFiles(open *execpb.Open) (files []*os.File, err error) {
	if open.GetTty() {
		controller, terminal, err := openPTY()
		if err != nil {
			return nil, err
		}
		if size := open.GetSize(); size.GetRows() > 0 && size.GetColumns() > 0 {
			_ = resize(controller, size.GetRows(), size.GetColumns())
		}
		c.terms, c.stdin = controller, controller
		c.outputs = []*output{{from: controller}}
		return []*os.File{terminal, terminal, terminal}, nil
	}
	files = make([]*os.File, 3)
	if open.GetStdin() {
		files[0], c.stdin, err = os.Pipe()
	} else {
		files[0], err = os.Open(os.DevNull)
	}
	for i := 1; i < 3 && err == nil; i++ {
		out := &output{}
		out.from, files[i], err = os.Pipe()
		c.outputs = append(c.outputs, out)
	}
	return files, err
}

// close closes our ends; it may be called more than once.
func (c *command) close() {
	c.closing.Do(func() {
		closeAll(c.stdin)
		for _, out := range c.outputs {
			if out.from != c.stdin {
				closeAll(out.from)
			}
		}
	})
}

// hangUp ends the command and waits for that. On a terminal everything in its
// session gets a hangup first, for a shell's jobs are process groups of their
// own.
func (c *command) hangUp() {
	select {
	case <-c.process.ended:
		return
	default:
	}
	if c.terms != nil {
		// The kernel tells the leader of the session and nobody else, and not
		// every shell tells its jobs.
		c.hangUpJobs()
		c.close()
		timer := time.NewTimer(hangUpWait)
		defer timer.Stop()
		select {
		case <-c.process.ended:
		case <-timer.C:
		}
	}
	c.reaper.signal(c.process, syscall.SIGKILL)
	<-c.process.ended
}

// resize gives the terminal another size.
func (c *command) resize(size *execpb.WindowSize) {
	if c.terms != nil {
		_ = resize(c.terms, size.GetRows(), size.GetColumns())
	}
}

// ask asks for the command's end.
func (c *command) ask() {
	select {
	case c.asked <- struct{}{}:
	default:
	}
}

// signal sends a signal to what is in the foreground of the session.
func (c *command) signal(number int32) {
	sig := syscall.Signal(number)
	if c.terms != nil {
		if group, err := foreground(c.terms); err == nil && group > 1 {
			_ = syscall.Kill(-group, sig)
			return
		}
	}
	c.reaper.signal(c.process, sig)
}

// drain lets copying end when an ended command's output is over. Something
// that has left the command's group may hold a pipe open, so its end is no
// measure.
func (c *command) drain(within time.Duration) {
	until := time.Now().Add(within)
	for _, out := range c.outputs {
		out.until.Store(&until)
		out.extend()
	}
}

// extend renews the patience of drain: only silence counts, not the time that
// a slow reader takes. It tells whether the output should be over by now.
func (o *output) extend() (late bool) {
	until := o.until.Load()
	if until == nil {
		return false
	}
	now := time.Now()
	deadline := now.Add(lastOutput)
	if deadline.After(*until) {
		deadline = *until
	}
	_ = o.from.SetReadDeadline(deadline)
	return now.After(*until)
}

// endGroup ends what an ended command has left behind: its group at once. What
// else is in its session and on its terminal, as a shell's jobs, gets a hangup;
// the kernel tells those in the foreground only.
func (c *command) endGroup() {
	_ = syscall.Kill(-c.process.pid, syscall.SIGKILL)
	if c.terms != nil {
		c.hangUpJobs()
	}
}

// hangUpJobs tells everything in the session but its leader that the terminal
// is gone.
func (c *command) hangUpJobs() {
	for _, pid := range sessionMembers(c.process.pid) {
		if pid != c.process.pid {
			_ = syscall.Kill(pid, syscall.SIGHUP)
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
}
