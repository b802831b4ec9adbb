package entrypoint

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"waypoint/internal/task"
)

// reaper owns every wait of the process. Children and exec sessions are
// started through it, and nobody else waits for a process, so no status is
// ever lost to somebody who did not want it. As PID 1 or as a subreaper it
// also ends orphans' zombies.
type reaper struct {
	mu       sync.Mutex
	started  map[int]*process
	starting int                        // starts under way
	early    map[int]syscall.WaitStatus // of processes that are not known, while starts are under way
	fork     forkFunc
	sigchld  chan os.Signal
	changed  chan struct{} // one slot: something ended
}

// forkFunc is os.StartProcess.
type forkFunc func(path string, argv []string, attr *os.ProcAttr) (*os.Process, error)

// process is one that the reaper has started.
type process struct {
	pid     int
	ended   chan struct{} // closed after code is set
	code    int           // exit status, 128+n for a signal
	stopped chan struct{} // one slot: it has been stopped, as by Ctrl-Z
}

func newReaper(fork forkFunc) *reaper {
	r := &reaper{
		started: make(map[int]*process),
		early:   make(map[int]syscall.WaitStatus),
		fork:    fork,
		sigchld: make(chan os.Signal, 1),
		changed: make(chan struct{}, 1),
	}
	signal.Notify(r.sigchld, syscall.SIGCHLD)
	return r
}

// start starts a process. That may take for ever, as from a network drive that
// does not answer, and keeps nobody else from being reaped. A process that
// ends before it is known is found among those that did so early.
func (r *reaper) start(path string, argv []string, attr *os.ProcAttr) (*process, error) {
	r.mu.Lock()
	r.starting++
	r.mu.Unlock()
	var started *os.Process
	err := task.Protect(func() (err error) {
		started, err = r.fork(path, argv, attr)
		return err
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starting--
	defer func() {
		if r.starting == 0 {
			clear(r.early)
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	p := &process{pid: started.Pid, ended: make(chan struct{}), stopped: make(chan struct{}, 1)}
	_ = started.Release()
	r.started[p.pid] = p
	r.collect(p)
	return p, nil
}

// collect gives a process that has become known the status that it had before.
// One that can still be waited for has another: the early one was that of an
// orphan which had its number before.
func (r *reaper) collect(p *process) {
	status, ok := r.early[p.pid]
	if !ok {
		return
	}
	delete(r.early, p.pid)
	if status.Stopped() {
		r.note(p, status)
		return
	}
	var current syscall.WaitStatus
	pid, err := syscall.Wait4(p.pid, &current, syscall.WNOHANG, nil)
	switch {
	case err != nil:
		r.note(p, status)
	case pid == p.pid:
		r.note(p, current)
	}
}

// note takes note of a process's status.
func (r *reaper) note(p *process, status syscall.WaitStatus) {
	if status.Stopped() {
		select {
		case p.stopped <- struct{}{}:
		default:
		}
		return
	}
	delete(r.started, p.pid)
	p.code = exitCode(status)
	close(p.ended)
}

// run reaps until ctx ends.
func (r *reaper) run(ctx context.Context) {
	defer signal.Stop(r.sigchld)
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.sigchld:
			_ = task.Protect(func() error { r.reap(); return nil })
		}
	}
}

// reap takes every status there is: signals coalesce, so one may stand for
// many.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG|syscall.WUNTRACED, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			break
		}
		if p := r.started[pid]; p != nil {
			r.note(p, status)
		} else if r.starting > 0 {
			r.early[pid] = status
		}
	}
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// signal sends a signal to a process's group if the process has not ended. The
// lock keeps its number from becoming somebody else's meanwhile.
func (r *reaper) signal(p *process, sig syscall.Signal) { r.send(p, -p.pid, sig) }

// signalOne sends a signal to a process alone, by the same rule.
func (r *reaper) signalOne(p *process, sig syscall.Signal) { r.send(p, p.pid, sig) }

func (r *reaper) send(p *process, to int, sig syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started[p.pid] == p {
		_ = syscall.Kill(to, sig)
	}
}

// exitCode is a status as a shell tells it.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// groupAlive tells whether a process group has members. Zombies count, so it
// is asked again when something has been reaped.
func groupAlive(pgid int) bool {
	return syscall.Kill(-pgid, 0) != syscall.ESRCH
}
