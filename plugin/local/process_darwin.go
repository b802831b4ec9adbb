package local

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// handle is a process to be signalled. Without pidfds there is a moment between
// looking and signalling.
type handle struct {
	process
	pid int
}

// open returns nil if the process has ended.
func (p process) open() *handle {
	if !p.alive() {
		return nil
	}
	return &handle{process: p, pid: p.PID}
}

func (h *handle) close() {}

// signal sends sig. A process that has ended is no error.
func (h *handle) signal(sig syscall.Signal) error {
	if !h.alive() {
		return nil
	}
	if err := syscall.Kill(h.pid, sig); err != nil && err != syscall.ESRCH {
		return err
	}
	return nil
}

// killSession kills the process and its process group.
func (h *handle) killSession() {
	if h.alive() {
		_ = syscall.Kill(-h.pid, syscall.SIGKILL)
	}
}

// leftBehind finds nothing: there is no telling whose a process is.
func leftBehind(int, string) []process { return nil }

// alive tells whether the process is there and has not ended. A zombie has.
func (p process) alive() bool {
	const zombie = 5 // SZOMB
	info, err := unix.SysctlKinfoProc("kern.proc.pid", p.PID)
	return err == nil && int(info.Proc.P_pid) == p.PID && startOf(info) == p.Start && info.Proc.P_stat != zombie
}

func startTime(pid int) (uint64, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return 0, err
	}
	return startOf(info), nil
}

func startOf(info *unix.KinfoProc) uint64 {
	t := info.Proc.P_starttime
	return uint64(time.Unix(t.Sec, int64(t.Usec)*1000).UnixMicro())
}

func bootID() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }
