// Package atomicfile replaces files whole: after a crash, a file has its old
// content or its new one, never a part of either.
//
// It must not know what the files hold.
package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write makes path a file with the given content and mode. When it returns
// nil, content and name have both reached the disk. When it fails, path is as
// it was before, and nothing is left beside it.
func Write(path string, data []byte, mode fs.FileMode) error {
	err := replace(path, data, mode, -1, -1, (*os.File).Sync)
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	return named(path, err)
}

// Replace is Write for a file that belongs to another user or group, and that
// need not outlast a crash of the machine: it does not wait for the disk. -1
// leaves a user or group as it is for a new file of this process. At no time
// does anybody else see the content.
func Replace(path string, data []byte, mode fs.FileMode, uid, gid int) error {
	return named(path, replace(path, data, mode, uid, gid, func(*os.File) error { return nil }))
}

func named(path string, err error) error {
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func replace(path string, data []byte, mode fs.FileMode, uid, gid int, sync func(*os.File) error) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	if err := fill(temp, data, mode, uid, gid, sync); err != nil {
		_ = os.Remove(temp.Name())
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		_ = os.Remove(temp.Name())
		return err
	}
	return nil
}

// fill writes everything that must be there before the rename, and closes the
// file.
func fill(f *os.File, data []byte, mode fs.FileMode, uid, gid int, sync func(*os.File) error) error {
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if uid != -1 || gid != -1 {
		if err := f.Chown(uid, gid); err != nil {
			_ = f.Close()
			return err
		}
	}
	if err := f.Chmod(mode); err != nil {
		_ = f.Close()
		return err
	}
	if err := sync(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// SyncDir makes the names in a directory reach the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close()
		return err
	}
	return d.Close()
}
