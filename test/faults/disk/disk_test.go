//go:build linux && faults

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"waypoint/internal/wait"
)

// envBolt is set for the process that works with bolt on the disk: the one that
// answers for the disk must not map its files.
const envBolt = "DISK_TEST_BOLT"

func TestMain(m *testing.M) {
	if path := os.Getenv(envBolt); path != "" {
		if err := useBolt(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// mount returns a mounted disk, its folder as it is seen, and the one behind it.
func mount(t *testing.T) (d *Disk, front, back string) {
	t.Helper()
	front, back = t.TempDir(), t.TempDir()
	d, err := Mount(front, back)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d, front, back
}

func create(t *testing.T, path, text string) *os.File {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestWhatIsWrittenLiesInTheFolder(t *testing.T) {
	_, front, back := mount(t)
	f := create(t, filepath.Join(front, "a"), "text")
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
	if err := os.MkdirAll(filepath.Join(front, "one/two"), 0o700); err != nil {
		t.Error(err)
	}
	if err := os.Rename(filepath.Join(front, "a"), filepath.Join(front, "one/two/b")); err != nil {
		t.Error(err)
	}
	for _, folder := range []string{front, back} {
		if got, err := os.ReadFile(filepath.Join(folder, "one/two/b")); err != nil || string(got) != "text" {
			t.Errorf("%s holds %q, %v", folder, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(back, "one/two/b"), []byte("changed behind"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(front, "one/two/b")); err != nil || string(got) != "changed behind" {
		t.Errorf("after a change behind it: %q, %v", got, err)
	}
}

// Bolt maps its file and writes beside the map.
func TestBoltWorksOnIt(t *testing.T) {
	_, front, back := mount(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envBolt+"="+filepath.Join(front, "bolt.db"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if info, err := os.Stat(filepath.Join(back, "bolt.db")); err != nil || info.Size() == 0 {
		t.Errorf("behind it: %v, %v", info, err)
	}
}

// useBolt writes enough to let the file grow, reads it back at once, and after
// it was opened again.
func useBolt(path string) error {
	const count = 200
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 1<<10) }
	bucket := []byte("b")
	for range 2 {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
		if err != nil {
			return err
		}
		for i := range count {
			if err := db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists(bucket)
				if err != nil {
					return err
				}
				return b.Put([]byte{byte(i)}, value(i))
			}); err != nil {
				return err
			}
			if err := db.View(func(tx *bbolt.Tx) error {
				if got := tx.Bucket(bucket).Get([]byte{byte(i)}); !bytes.Equal(got, value(i)) {
					return fmt.Errorf("key %d reads %d bytes", i, len(got))
				}
				return nil
			}); err != nil {
				return err
			}
		}
		if err := db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				return err
			}
			return nil
		}); err != nil {
			return err
		}
		if err := db.Close(); err != nil {
			return err
		}
	}
	return nil
}

func TestADelayHoldsEachWriteAndEachSync(t *testing.T) {
	const delay = 50 * time.Millisecond
	d, front, _ := mount(t)
	f := create(t, filepath.Join(front, "a"), "text")
	d.SetDelay(delay)
	for name, op := range map[string]func() error{
		"write": func() error { _, err := f.WriteString("more"); return err },
		"fsync": f.Sync,
	} {
		began := time.Now()
		if err := op(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took < delay {
			t.Errorf("%s took %v, less than %v", name, took, delay)
		}
	}
	d.SetDelay(0)
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
}

func TestSyncFailsUntilItIsToldNotTo(t *testing.T) {
	d, front, _ := mount(t)
	f := create(t, filepath.Join(front, "a"), "text")
	folder, err := os.Open(front)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	d.FailSync(true)
	for name, op := range map[string]func() error{
		"fsync": f.Sync, "fsync of the folder": folder.Sync,
		"fdatasync": func() error { return syscall.Fdatasync(int(f.Fd())) },
	} {
		if err := op(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := d.Refused(); n != 3 {
		t.Errorf("%d calls were refused", n)
	}
	d.FailSync(false)
	if err := errors.Join(f.Sync(), folder.Sync()); err != nil {
		t.Error(err)
	}
}

func TestAFullDiskTakesOnlyWhatNeedsNoSpace(t *testing.T) {
	d, front, _ := mount(t)
	f := create(t, filepath.Join(front, "a"), "text")
	const size = 1 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	d.Full(true)
	if _, err := f.WriteAt([]byte("TEXT"), 0); err != nil {
		t.Errorf("write over what is there: %v", err)
	}
	if err := f.Sync(); err != nil {
		t.Errorf("fsync: %v", err)
	}
	for name, op := range map[string]func() error{
		"write into the hole":    func() error { _, err := f.WriteAt([]byte("x"), size/2); return err },
		"write at the end":       func() error { _, err := f.WriteAt([]byte("x"), size); return err },
		"make the file longer":   func() error { return f.Truncate(size + 1) },
		"create":                 func() error { _, err := os.Create(filepath.Join(front, "b")); return err },
		"make a folder":          func() error { return os.Mkdir(filepath.Join(front, "c"), 0o700) },
		"reserve":                func() error { return syscall.Fallocate(int(f.Fd()), 0, 0, 2*size) },
		"write beyond the block": func() error { _, err := f.WriteAt(make([]byte, 64<<10), 0); return err },
	} {
		if err := op(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(front, &st); err != nil || st.Bavail != 0 {
		t.Errorf("%d blocks are free, %v", st.Bavail, err)
	}
	if err := f.Truncate(2); err != nil {
		t.Errorf("make the file shorter: %v", err)
	}
	d.Full(false)
	if _, err := f.WriteAt([]byte("x"), size); err != nil {
		t.Error(err)
	}
	create(t, filepath.Join(front, "b"), "text")
}

func TestAHangingDiskGoesOnWhereItStopped(t *testing.T) {
	d, front, _ := mount(t)
	f := create(t, filepath.Join(front, "a"), "text")
	d.Hang(true)
	done := make(chan error, 1)
	go func() { done <- f.Sync() }()
	select {
	case err := <-done:
		t.Fatalf("fsync did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := os.ReadFile(filepath.Join(front, "a")); err != nil {
		t.Errorf("read meanwhile: %v", err)
	}
	d.Hang(false)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestUnmountEndsAlsoWhatIsInUse(t *testing.T) {
	d, front, _ := mount(t)
	f := create(t, filepath.Join(front, "a"), "text")
	for range 2 {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	}
	if mounted(t, front) {
		t.Error("it is still mounted")
	}
	if _, err := f.WriteString("more"); err == nil {
		t.Error("an open file can still be written")
	}
}

// The guard acts when its input ends, which it does when this process is gone.
func TestTheMountDoesNotOutliveItsProcess(t *testing.T) {
	d, front, _ := mount(t)
	if err := d.guard.end(); err != nil {
		t.Fatal(err)
	}
	wait.For(t, 10*time.Second, "the guard to unmount", func() bool { return !mounted(t, front) })
}

func TestMountSaysWhatIsMissing(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	if _, err := Mount(gone, t.TempDir()); err == nil || !strings.Contains(err.Error(), gone) {
		t.Errorf("without a mount point: %v", err)
	}
	if _, err := Mount(t.TempDir(), gone); err == nil || !strings.Contains(err.Error(), gone) {
		t.Errorf("without a folder: %v", err)
	}
}

func mounted(t *testing.T, path string) bool {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(mounts), " "+path+" ")
}
