package entrypoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"waypoint/api/entrypointpb"
)

const (
	privateMode = 0o600 // of a file that names no mode
	folderMode  = 0o755 // of a folder that is made for a file
)

// files are the configuration files that this entrypoint has written. It
// removes and replaces no others than those, and those that a configuration
// names.
type files struct {
	accounts accounts
	replace  replaceFunc
	written  map[string]*entrypointpb.ConfigFile // by path
	made     []string                            // folders, outer before inner
}

// replaceFunc is atomicfile.Replace.
type replaceFunc func(path string, data []byte, mode fs.FileMode, uid, gid int) error

// fault is a file that is not as the configuration wants it.
type fault struct {
	path    string
	err     error
	missing bool // its content is not at its path
}

func newFiles(replace replaceFunc) *files {
	return &files{accounts: systemAccounts(), replace: replace, written: make(map[string]*entrypointpb.ConfigFile)}
}

// become makes the files on the disk those that are wanted: it removes what is
// wanted no more and writes what differs, or everything if anew is set, for
// the child may have changed it. A file that fails keeps none of the others.
func (f *files) become(want []*entrypointpb.ConfigFile, anew bool) []fault {
	var faults []fault
	paths := make(map[string]bool, len(want))
	for _, file := range want {
		paths[filepath.Clean(file.GetPath())] = true
	}
	for path := range f.written {
		if paths[path] {
			continue
		}
		if err := syscall.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			faults = append(faults, fault{path: path, err: &fs.PathError{Op: "remove", Path: path, Err: err}})
			continue
		}
		delete(f.written, path)
	}
	f.tidy(paths)
	for _, file := range want {
		path := filepath.Clean(file.GetPath())
		if !anew && sameFile(f.written[path], file) {
			continue
		}
		if err := f.write(path, file); err != nil {
			faults = append(faults, fault{path: path, err: err, missing: !holds(path, file.GetContent())})
		}
	}
	return faults
}

// write writes one file. If the owner cannot be set, as without root or in a
// user namespace that does not know it, the file is written all the same: its
// content is worth more.
func (f *files) write(path string, file *entrypointpb.ConfigFile) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("write %s: the path is not absolute", path)
	}
	if err := f.makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	mode := fs.FileMode(file.GetMode()).Perm()
	if file.GetMode() == 0 {
		mode = privateMode
	}
	content := []byte(file.GetContent())
	uid, gid, ownerErr := f.accounts.resolve(file.GetOwner())
	if ownerErr == nil {
		err := f.replace(path, content, mode, uid, gid)
		if err == nil || uid == -1 && gid == -1 {
			return f.note(path, file, err)
		}
		ownerErr = err
	}
	if err := f.note(path, file, f.replace(path, content, mode, -1, -1)); err != nil {
		return err
	}
	return fmt.Errorf("give %s to %q: %w", path, file.GetOwner(), ownerErr)
}

// note remembers a file that was written.
func (f *files) note(path string, file *entrypointpb.ConfigFile, err error) error {
	if err == nil {
		f.written[path] = file
	}
	return err
}

// holds tells whether a path has a content.
func holds(path, content string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(content)) {
		return false
	}
	got, err := os.ReadFile(path)
	return err == nil && string(got) == content
}

// makeFolder makes a folder and those above it that are missing.
func (f *files) makeFolder(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: "use as folder", Path: path, Err: syscall.ENOTDIR}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, folderMode); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	f.made = append(f.made, path)
	return chmodFolder(path)
}

// chmodFolder sets the permissions of a folder that was made, whatever the
// umask is, and never those of something that a link in its place leads to.
func chmodFolder(path string) error {
	folder, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Chmod(folderMode)
}

// tidy removes folders that it made and that hold nothing any more, except
// those of the given paths.
func (f *files) tidy(paths map[string]bool) {
	for i, folder := range slices.Backward(f.made) {
		inUse := false
		for path := range paths {
			inUse = inUse || strings.HasPrefix(path, folder+"/")
		}
		if inUse {
			continue
		}
		if err := syscall.Rmdir(folder); err == nil || errors.Is(err, fs.ErrNotExist) {
			f.made = slices.Delete(f.made, i, i+1)
		}
	}
}

// sameFile tells whether two files look the same to a reader.
func sameFile(a, b *entrypointpb.ConfigFile) bool {
	return a != nil && b != nil && a.GetPath() == b.GetPath() && a.GetMode() == b.GetMode() &&
		a.GetOwner() == b.GetOwner() && a.GetContent() == b.GetContent()
}
