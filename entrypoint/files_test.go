package entrypoint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"waypoint/api/entrypointpb"
	"waypoint/internal/atomicfile"
)

func configFile(path, content string) *entrypointpb.ConfigFile {
	return &entrypointpb.ConfigFile{Name: "F", Path: path, Content: content}
}

// reads compares a file's content and permissions.
func reads(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("%s holds %q (%v), want %q", path, got, err, content)
	}
	if info, err := os.Stat(path); err == nil && info.Mode() != mode {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), mode)
	}
}

// tree lists what is below a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	check(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path != dir {
			all = append(all, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	}))
	return strings.Join(all, " ")
}

func TestFilesBecomeWhatIsWanted(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	check(t, os.WriteFile(at("image"), []byte("image"), 0o644))
	f := newFiles(atomicfile.Replace)
	become := func(anew bool, want ...*entrypointpb.ConfigFile) {
		t.Helper()
		for _, fault := range f.become(want, anew) {
			t.Error(fault.err)
		}
	}
	shared := configFile(at("x/y/shared"), "1")
	shared.Mode = 0o644
	become(true, configFile(at("image"), "config"), shared, configFile(at("x/secret"), "s"))
	reads(t, at("image"), "config", 0o600)
	reads(t, at("x/y/shared"), "1", 0o644)
	reads(t, at("x/secret"), "s", 0o600)
	for _, folder := range []string{"x", "x/y"} {
		if info, err := os.Stat(at(folder)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("folder %s: %v, %v", folder, info.Mode(), err)
		}
	}
	// What the child has changed stays until the next start.
	check(t, os.WriteFile(at("x/secret"), []byte("child's"), 0o600))
	become(false, shared, configFile(at("x/secret"), "s"))
	reads(t, at("x/secret"), "child's", 0o600)
	become(true, shared, configFile(at("x/secret"), "s"))
	reads(t, at("x/secret"), "s", 0o600)
	// A file becomes a folder and a folder a file.
	become(false, configFile(at("x/secret/deep"), "d"), configFile(at("x/y"), "y"))
	if got := tree(t, dir); got != "x x/secret x/secret/deep x/y" {
		t.Errorf("there is %s", got)
	}
	// What others have put there keeps its folder.
	check(t, os.WriteFile(at("x/other"), nil, 0o600))
	become(false)
	if got := tree(t, dir); got != "x x/other" {
		t.Errorf("there is %s", got)
	}
	check(t, os.Remove(at("x/other")))
	become(false)
	if got := tree(t, dir); got != "" {
		t.Errorf("there is %s", got)
	}
}

func TestOneFileThatFailsKeepsNoneOfTheOthers(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	check(t, os.WriteFile(plain, []byte("text"), 0o600))
	check(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	owned := configFile(filepath.Join(dir, "owned"), "o")
	owned.Owner = "no-such-user-here"
	want := []*entrypointpb.ConfigFile{
		configFile("relative", "r"),
		configFile("/proc/waypoint/x", "p"), // takes no folders, not even root's
		configFile(plain+"/x", "x"),
		configFile(filepath.Join(dir, "folder"), "f"),
		owned,
		configFile(filepath.Join(dir, "good"), "g"),
	}
	f := newFiles(atomicfile.Replace)
	faults := f.become(want, true)
	if len(faults) != 5 {
		t.Errorf("%d faults: %v", len(faults), faults)
	}
	for _, fault := range faults {
		if !strings.Contains(fault.err.Error(), filepath.Base(fault.path)) && !strings.Contains(fault.err.Error(), filepath.Base(filepath.Dir(fault.path))) {
			t.Errorf("fault of %s: %v", fault.path, fault.err)
		}
	}
	reads(t, filepath.Join(dir, "owned"), "o", 0o600)
	reads(t, filepath.Join(dir, "good"), "g", 0o600)
	if got := tree(t, dir); got != "folder good owned plain" {
		t.Errorf("there is %s", got)
	}
	f.become(nil, true)
	if got := tree(t, dir); got != "folder plain" {
		t.Errorf("after the variables have gone there is %s", got)
	}
}

func TestOwnerIsSetOrTheFileIsWrittenWithout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	file := configFile(path, "x")
	file.Owner, file.Mode = "12345:54321", 0o640
	faults := newFiles(atomicfile.Replace).become([]*entrypointpb.ConfigFile{file}, true)
	reads(t, path, "x", 0o640)
	info, err := os.Stat(path)
	check(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	if os.Geteuid() == 0 {
		if len(faults) != 0 || owner.Uid != 12345 || owner.Gid != 54321 {
			t.Errorf("%d:%d, %v", owner.Uid, owner.Gid, faults)
		}
	} else if len(faults) != 1 || !errors.Is(faults[0].err, fs.ErrPermission) || int(owner.Uid) != os.Geteuid() {
		t.Errorf("%d:%d, %v", owner.Uid, owner.Gid, faults)
	}
}

func TestOwnersAreResolved(t *testing.T) {
	dir := t.TempDir()
	a := accounts{users: filepath.Join(dir, "passwd"), groups: filepath.Join(dir, "group")}
	check(t, os.WriteFile(a.users, []byte("root:x:0:0::/root:/bin/sh\n# note\n\nbad\napp:x:1001:1002::/:/bin/false\nodd:x:-1:0\n"), 0o600))
	check(t, os.WriteFile(a.groups, []byte("root:x:0:\nweb:x:33:app,root"), 0o600))
	for owner, want := range map[string][2]int{
		"": {-1, -1}, "app": {1001, -1}, "app:web": {1001, 33}, ":web": {-1, 33}, "7:8": {7, 8}, "app:": {1001, -1}, "0:web": {0, 33},
	} {
		uid, gid, err := a.resolve(owner)
		if err != nil || uid != want[0] || gid != want[1] {
			t.Errorf("%q is %d:%d (%v), want %v", owner, uid, gid, err, want)
		}
	}
	for _, owner := range []string{"nobody", "app:nobody", "odd", "-1", "4294967296", "bad"} {
		if _, _, err := a.resolve(owner); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%q: %v", owner, err)
		}
	}
	if _, _, err := (accounts{users: filepath.Join(dir, "none")}).resolve("app"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
}

func TestFileIsMissingOnlyWithoutItsContent(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	f := newFiles(atomicfile.Replace)
	if faults := f.become([]*entrypointpb.ConfigFile{configFile(at("old"), "x"), configFile(at("kept"), "k")}, true); len(faults) != 0 {
		t.Fatal(faults)
	}
	check(t, os.Remove(at("old")))
	check(t, os.Mkdir(at("old"), 0o700)) // not to be removed as a file
	f.replace = func(path string, _ []byte, _ fs.FileMode, _, _ int) error {
		return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
	}
	got := make(map[string]bool)
	for _, fault := range f.become([]*entrypointpb.ConfigFile{configFile(at("kept"), "k"), configFile(at("new"), "n")}, true) {
		got[filepath.Base(fault.path)] = fault.missing
	}
	if len(got) != 3 || got["old"] || got["kept"] || !got["new"] {
		t.Errorf("missing: %v", got)
	}
	f.become([]*entrypointpb.ConfigFile{configFile(at("kept"), "other")}, true)
	if holds(at("kept"), "other") || !holds(at("kept"), "k") {
		t.Error("an old content counts as the new one")
	}
}

// A user namespace answers EINVAL for users that it does not know.
func TestOwnerThatCannotBeSetForAnyCauseIsLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	file := configFile(path, "x")
	file.Owner = "12345"
	faults := newFiles(func(path string, data []byte, mode fs.FileMode, uid, gid int) error {
		if uid != -1 {
			return &fs.PathError{Op: "chown", Path: path, Err: syscall.EINVAL}
		}
		return atomicfile.Replace(path, data, mode, uid, gid)
	}).become([]*entrypointpb.ConfigFile{file}, true)
	if len(faults) != 1 || faults[0].missing || !errors.Is(faults[0].err, syscall.EINVAL) {
		t.Errorf("%v", faults)
	}
	reads(t, path, "x", 0o600)
}

func TestLinkInPlaceOfAFolderKeepsItsTarget(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	check(t, os.Mkdir(target, 0o700))
	check(t, os.Symlink(target, link))
	if err := chmodFolder(link); err == nil {
		t.Error("a link counts as a folder")
	}
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
