package entrypoint

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// becomeSubreaper makes orphans below this process its children.
func becomeSubreaper() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// HideSecrets takes the token out of this process's environment, overwrites
// it in the memory that /proc/PID/environ shows, and keeps other processes of
// the same user from reading our memory. What a system does not let it do, it
// leaves.
func HideSecrets() {
	_ = wipe(EnvToken)
	_ = os.Unsetenv(EnvToken)
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// wipe overwrites the value of a variable where the kernel put it.
func wipe(name string) error {
	first, last, err := environBounds()
	if err != nil {
		return err
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	block := make([]byte, last-first)
	if _, err := memory.ReadAt(block, first); err != nil {
		return err
	}
	at := int64(0)
	for entry := range bytes.SplitSeq(block, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(name+"=")); ok {
			clear(value)
			if _, err := memory.WriteAt(value, first+at+int64(len(name))+1); err != nil {
				return err
			}
		}
		at += int64(len(entry)) + 1
	}
	return nil
}

// environBounds is where the kernel put the environment: the fields env_start
// and env_end of proc(5)'s stat.
func environBounds() (first, last int64, err error) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0, err
	}
	// The name of the program may hold anything, so count from its end,
	// after which comes field 3.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const start, end = 50 - 3, 51 - 3
	if len(fields) <= end {
		return 0, 0, errors.New("/proc/self/stat is short")
	}
	first, err1 := strconv.ParseInt(fields[start], 10, 64)
	last, err2 := strconv.ParseInt(fields[end], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, err
	}
	if first <= 0 || last <= first {
		return 0, 0, errors.New("/proc/self/stat does not show the environment")
	}
	return first, last, nil
}

// isTerminal tells whether f is one.
func isTerminal(f *os.File) bool {
	_, err := ioctlGet(f, unix.TIOCGWINSZ)
	return err == nil
}

// ownsTerminal tells whether f is our controlling terminal and we are in its
// foreground, or a former child's group is, so that we may put the child there.
func ownsTerminal(f *os.File, former int) bool {
	group, err := ioctlGet(f, unix.TIOCGPGRP)
	return err == nil && (group == syscall.Getpgrp() || former != 0 && group == former)
}

// foreground is the process group in the foreground of the terminal f.
func foreground(f *os.File) (int, error) { return ioctlGet(f, unix.TIOCGPGRP) }

// ioctlGet asks a number without changing the file's mode, as Fd would.
func ioctlGet(f *os.File, request uint) (value int, err error) {
	err = control(f, func(fd int) (err error) {
		if request == unix.TIOCGWINSZ {
			_, err = unix.IoctlGetWinsize(fd, request)
			return err
		}
		value, err = unix.IoctlGetInt(fd, request)
		return err
	})
	return value, err
}

func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// readNow reads what is there, whatever the file's deadline is.
func readNow(f *os.File, buffer []byte) (n int, err error) {
	err = control(f, func(fd int) (err error) {
		if n, err = unix.Read(fd, buffer); err == nil && n == 0 {
			err = io.EOF
		}
		return err
	})
	return max(n, 0), err
}

// openPTY makes a pseudo-terminal. The controlling side can be read with
// deadlines.
func openPTY() (controller, terminal *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	controller = os.NewFile(uintptr(fd), "/dev/ptmx")
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		controller.Close()
		return nil, nil, os.NewSyscallError("open pseudo-terminal", err)
	}
	return controller, terminal, nil
}

// resize sets a terminal's size in characters.
func resize(f *os.File, rows, columns uint32) error {
	return control(f, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(columns)})
	})
}

// sessionMembers lists the processes of a session: field 6 of proc(5)'s stat.
func sessionMembers(session int) []int {
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var members []int
	for _, path := range paths {
		stat, err := os.ReadFile(path + "/stat")
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if err != nil || len(fields) < 4 || fields[6-3] != strconv.Itoa(session) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(path)); err == nil {
			members = append(members, pid)
		}
	}
	return members
}

// childAttr puts a child into a process group of its own, and that into the
// foreground of the terminal that stdin is if terminal is set.
func childAttr(stdin *os.File, terminal bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if terminal {
		attr.Foreground = true
		_ = control(stdin, func(fd int) error { attr.Ctty = fd; return nil })
	}
	return attr
}

// sessionAttr puts a command into a session of its own, with its standard
// input as controlling terminal if tty is set.
func sessionAttr(tty bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Setctty: tty, Ctty: 0}
}
