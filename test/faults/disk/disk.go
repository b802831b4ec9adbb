//go:build linux

package disk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Disk is one mounted folder. A new one lets everything through. This process
// answers for it: it must not map the disk's files into its own memory, or the
// two would wait for each other.
type Disk struct {
	mountpoint string
	server     *fuse.Server
	guard      *guard

	mu      sync.Mutex
	delay   time.Duration
	failing bool
	full    bool
	refused int           // calls of fsync that got an error
	held    chan struct{} // closed when the disk goes on; nil: it is not held
}

// Mount shows the folder backing at mountpoint; both must exist. It needs
// /dev/fuse and the right to mount; the error says which is missing. The mount
// ends with Unmount, and if this process ends in whatever way.
func Mount(mountpoint, backing string) (*Disk, error) {
	if err := possible(); err != nil {
		return nil, fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	mountpoint, err := filepath.Abs(mountpoint)
	if err != nil {
		return nil, err
	}
	d := &Disk{mountpoint: mountpoint}
	top, err := newRoot(d, backing)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	if d.guard, err = startGuard(mountpoint); err != nil {
		return nil, fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	// Without time limits the kernel asks again for names and sizes, so that
	// what a test does to the folder itself is seen.
	d.server, err = fs.Mount(mountpoint, top, &fs.Options{MountOptions: fuse.MountOptions{
		FsName: backing, Name: "waypoint-faults", DirectMountStrict: true,
	}})
	if err != nil {
		d.guard.stop()
		return nil, fmt.Errorf("mount %s: %w (is this allowed to mount?)", mountpoint, err)
	}
	return d, nil
}

func possible() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("FUSE is missing: %w", err)
	}
	return f.Close()
}

// SetDelay makes each write and each fsync take that much longer.
func (d *Disk) SetDelay(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delay = delay
}

// FailSync lets each fsync fail with EIO, or lets it through again.
func (d *Disk) FailSync(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = on
}

// Full takes all free space away, or gives it back: without it, new files and
// folders, and writes to where a file has no block yet, fail with ENOSPC.
func (d *Disk) Full(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = on
}

// Hang holds each write and each fsync, or lets those that are held go on. A
// process that waits for one cannot be killed: let it go on first.
func (d *Disk) Hang(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case on && d.held == nil:
		d.held = make(chan struct{})
	case !on && d.held != nil:
		close(d.held)
		d.held = nil
	}
}

// Refused returns how many calls of fsync have failed so far.
func (d *Disk) Refused() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused
}

// Unmount ends the mount and waits for the last call. Files that are still open
// fail from now on. It may be called again.
func (d *Disk) Unmount() error {
	d.Hang(false)
	err := syscall.Unmount(d.mountpoint, 0)
	if errors.Is(err, syscall.EBUSY) {
		err = syscall.Unmount(d.mountpoint, syscall.MNT_FORCE|syscall.MNT_DETACH)
	}
	if err != nil && !errors.Is(err, syscall.EINVAL) { // not mounted any more
		return fmt.Errorf("unmount %s: %w", d.mountpoint, err)
	}
	d.server.Wait()
	d.guard.stop()
	return nil
}

// wait takes as long as a write does now. It does not look whether the caller
// was interrupted: the Go runtime interrupts its own threads all the time, and a
// disk finishes what it was told.
func (d *Disk) wait() {
	d.mu.Lock()
	delay, held := d.delay, d.held
	d.mu.Unlock()
	if held != nil {
		<-held
	}
	if delay > 0 {
		<-time.After(delay)
	}
}

// sync says what becomes of a call of fsync.
func (d *Disk) sync() syscall.Errno {
	d.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing {
		d.refused++
		return syscall.EIO
	}
	return fs.OK
}

func (d *Disk) noSpace() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

// guard is a process that unmounts when this one is gone: a mount that nobody
// answers for would stay for ever.
type guard struct {
	cmd *exec.Cmd
	end func() error
}

func startGuard(mountpoint string) (*guard, error) {
	cmd := exec.Command("sh", "-c", `cat; grep -qF " $0 " /proc/self/mounts && exec umount -l "$0"`, mountpoint)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is not for it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &guard{cmd, pipe.Close}, cmd.Start()
}

// stop ends the guard; the mount is gone or never was.
func (g *guard) stop() {
	_ = g.end()
	_ = g.cmd.Wait() // it finds nothing to unmount
}
