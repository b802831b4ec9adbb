package raftstore

import (
	"errors"
	"os"
	"syscall"
)

// syncData waits until a file's content is on disk, and as much about the file
// as is needed to find it.
func syncData(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fdatasync "+f.Name(), err)
		}
	}
}
