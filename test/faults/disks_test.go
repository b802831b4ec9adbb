//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"waypoint/test/faults/disk"
	"waypoint/test/harness"
)

// diskFaults are what happens to nodes' data directories.
func diskFaults() []fault {
	return []fault{
		{name: "slow disk", begin: slowDisk},
		{name: "failing fsync", begin: failSync},
		{name: "full disk", begin: fullDisk},
		{name: "hanging disk", begin: hangDisk},
	}
}

// mount lays the data directory of a node that does not run yet on a disk of
// its own.
func (w *world) mount(name string) error {
	front, back := filepath.Join(w.dir, name), filepath.Join(w.dir, "disks", name)
	for _, dir := range []string{front, back} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	d, err := disk.Mount(front, back)
	if err == nil {
		w.disks[name] = d
	}
	return err
}

// unmount ends all disks. The nodes have ended.
func (w *world) unmount() error {
	var failed []error
	for _, d := range w.disks {
		failed = append(failed, d.Unmount())
	}
	return errors.Join(failed...)
}

// sicken lets the disk of a node fail. A node may end by what its disk does,
// and is started again when the disk is well.
func (s *strike) sicken(ctx context.Context, what string, fail func(d *disk.Disk, on bool)) mend {
	n := s.victim(ctx)
	s.timeline.note("%s of %s", what, n.Name)
	s.mayEnd(n)
	fail(s.disks[n.Name], true)
	return func(context.Context) error {
		fail(s.disks[n.Name], false)
		s.timeline.note("end of: %s of %s", what, n.Name)
		return nil
	}
}

func slowDisk(ctx context.Context, s *strike) (mend, error) {
	delay := s.between(10*time.Millisecond, 200*time.Millisecond)
	return s.sicken(ctx, fmt.Sprintf("disk that needs %s more", delay.Round(time.Millisecond)), func(d *disk.Disk, on bool) {
		if on {
			d.SetDelay(delay)
		} else {
			d.SetDelay(0)
		}
	}), nil
}

func failSync(ctx context.Context, s *strike) (mend, error) {
	return s.sicken(ctx, "failing fsync", (*disk.Disk).FailSync), nil
}

func fullDisk(ctx context.Context, s *strike) (mend, error) {
	return s.sicken(ctx, "full disk", (*disk.Disk).Full), nil
}

// hangDisk lets a disk answer nothing. A node must not lead with it for ever.
func hangDisk(ctx context.Context, s *strike) (mend, error) {
	return s.sicken(ctx, "hanging disk", (*disk.Disk).Hang), nil
}

// mayEnd notes that a node may end by itself until the cluster is healthy.
func (w *world) mayEnd(n *harness.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending[n] = true
}

// revive starts a node that has ended and may have.
func (w *world) revive(ctx context.Context, n *harness.Node) error {
	w.mu.Lock()
	may := w.ending[n]
	w.mu.Unlock()
	if !may {
		return fmt.Errorf("node %s has ended by itself:\n%s", n.Name, n.LastLog(5))
	}
	w.timeline.note("%s has ended: start it", n.Name)
	return n.Start(ctx)
}
