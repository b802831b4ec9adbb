package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"waypoint/errs"
)

// lock takes the directory for this process. The kernel lets go of it when the
// process ends, however it ends.
func lock(path string) (*Dir, error) {
	f, err := os.OpenFile(filepath.Join(path, fileLock), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, errs.New(errs.Conflict, "data directory %s is in use by another process", path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock data directory %s: %w", path, err)
	}
	if err := probe(path); err != nil {
		f.Close()
		return nil, errs.New(errs.Unavailable,
			"data directory %s cannot be written: %w; nothing was changed and nothing is lost: make room or make it writable, and start again", path, err)
	}
	return &Dir{path: path, lock: f}, nil
}

// probe finds out whether the directory can be written. Later the same failure
// would look like damage.
func probe(path string) error {
	name := filepath.Join(path, fileProbe)
	err := os.WriteFile(name, make([]byte, probeSize), fileMode)
	if has(name) {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}
