package entrypoint

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// shellWaits tells whether somebody would continue us if we stopped: we have a
// controlling terminal, and a process outside of our group, in our session,
// started us or those of our group that did. It is what POSIX calls a group
// that is not orphaned.
func shellWaits() bool {
	if os.Getpid() == 1 {
		return false
	}
	terminal, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	terminal.Close()
	session, err := unix.Getsid(0)
	for pid := os.Getppid(); pid > 0 && err == nil; pid = parent(pid) {
		var theirs, group int
		if theirs, err = unix.Getsid(pid); err != nil || theirs != session {
			return false
		}
		if group, err = unix.Getpgid(pid); err == nil && group != unix.Getpgrp() {
			return true
		}
	}
	return false
}

// parent is a process's parent: field 4 of proc(5)'s stat; 0 if unknown.
func parent(pid int) int {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if err != nil || len(fields) < 2 {
		return 0
	}
	number, _ := strconv.Atoi(fields[4-3])
	return number
}

// stopOurselves stops our process group, which is one job of the shell. It
// returns when the shell has continued it.
func stopOurselves() { _ = syscall.Kill(0, syscall.SIGSTOP) }

// setForeground puts a process group into the foreground of a terminal.
func setForeground(f *os.File, pgid int) error {
	// If we are in its background by now the kernel would stop us for that,
	// and the child with us.
	return withoutTTOU(func() error {
		return control(f, func(fd int) error { return unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, pgid) })
	})
}

func withoutTTOU(do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := blockTTOU()
	if err != nil {
		return err
	}
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()
	return do()
}

// quietThread keeps the calling goroutine on a thread that may write to a
// terminal from its background, whatever "stty tostop" says: the child is in
// the foreground, and our words must not stop anybody. To ignore the signal
// would be simpler, but the child would inherit that.
func quietThread() {
	runtime.LockOSThread()
	_, _ = blockTTOU()
}

func blockTTOU() (before unix.Sigset_t, err error) {
	var mask unix.Sigset_t
	mask.Val[0] = 1 << (unix.SIGTTOU - 1)
	err = unix.PthreadSigmask(unix.SIG_BLOCK, &mask, &before)
	return before, err
}
