package entrypoint

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// becomeSubreaper makes orphans below this process its children.
func becomeSubreaper() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// HideSecrets takes the token out of this process's environment, overwrites
// the memory that /proc/PID/environ shows, and keeps other processes of the
// same user from reading our memory. It must be called before anything
// changes the environment. What a system does not let it do, it leaves.
func HideSecrets() {
	for _, name := range []string{EnvToken} {
		wipe(os.Getenv(name))
		_ = os.Unsetenv(name)
	}
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// wipe overwrites a variable's value in place if it lies where the kernel put
// the environment; the runtime's strings point there.
func wipe(value string) {
	if value == "" {
		return
	}
	first, last, ok := environBounds()
	at := uintptr(unsafe.Pointer(unsafe.StringData(value)))
	if !ok || at < first || at+uintptr(len(value)) > last {
		return
	}
	clear(unsafe.Slice(unsafe.StringData(value), len(value)))
}

// environBounds is where the kernel put the environment: the fields env_start
// and env_end of proc(5)'s stat.
func environBounds() (first, last uintptr, ok bool) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0, false
	}
	// The name of the program may hold anything, so count from its end.
	_, rest, found := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(" "))
	fields := strings.Fields(string(rest))
	const start, end = 50 - 3, 51 - 3
	if !found || len(fields) <= end {
		return 0, 0, false
	}
	a, err1 := strconv.ParseUint(fields[start], 10, 64)
	b, err2 := strconv.ParseUint(fields[end], 10, 64)
	return uintptr(a), uintptr(b), err1 == nil && err2 == nil && a < b
}

// isTerminal tells whether f is one.
func isTerminal(f *os.File) bool {
	_, err := ioctlGet(f, unix.TIOCGWINSZ)
	return err == nil
}

// ownsTerminal tells whether f is our controlling terminal and we are in its
// foreground, so that we may put the child there.
func ownsTerminal(f *os.File) bool {
	group, err := ioctlGet(f, unix.TIOCGPGRP)
	return err == nil && group == syscall.Getpgrp()
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
