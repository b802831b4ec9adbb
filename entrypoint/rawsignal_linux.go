//go:build amd64 || arm64

package entrypoint

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// onSignal is a handler without the Go runtime: it writes the signal's number
// to wake, whatever runs on that thread. See rawsignal_linux_*.s.
//
//lint:ignore U1000 the kernel calls it
func onSignal()

var onSignalAddr uintptr // of onSignal; its value is in the assembly

// wake is where onSignal writes; it is set once, before that is installed.
//
//lint:ignore U1000 the assembly reads it
var wake int32

// catchRest passes on to a channel what the Go runtime keeps to itself: SIGPROF,
// and 34, which is SIGRTMIN as glibc counts. Without a handler of our own they
// would be lost, or end us and leave the child behind.
func catchRest(to chan<- os.Signal) error {
	reader, writer, err := bell()
	if err != nil {
		return err
	}
	wake = int32(writer)
	// Flags, mask and way back are those of the runtime's own handlers; the
	// handler is the first word of the kernel's struct.
	var action [4]uintptr
	if err := sigaction(syscall.SIGUSR1, nil, &action); err != nil {
		return err
	}
	action[0] = onSignalAddr
	for _, sig := range []syscall.Signal{syscall.SIGPROF, 34} {
		if err := sigaction(sig, &action, nil); err != nil {
			return err
		}
	}
	go func() {
		numbers := make([]byte, signals)
		for {
			n, err := reader.Read(numbers)
			if err != nil {
				return
			}
			for _, number := range numbers[:n] {
				select {
				case to <- syscall.Signal(number):
				default: // as package signal does it
				}
			}
		}
	}()
	return nil
}

// bell is a pipe whose writing end never blocks.
func bell() (reader *os.File, writer int, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, 0, os.NewSyscallError("pipe2", err)
	}
	return os.NewFile(uintptr(ends[0]), "signals"), ends[1], nil
}

func sigaction(sig syscall.Signal, action, before *[4]uintptr) error {
	const setBytes = 8 // of a signal set
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(action)), uintptr(unsafe.Pointer(before)), setBytes, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("rt_sigaction", errno)
	}
	return nil
}
