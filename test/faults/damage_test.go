//go:build linux

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"waypoint/test/harness"
)

// pageSize is that of the bolt file, and the piece of either store that gets
// one wrong bit: a smaller share could hit only what is not in use any more.
const pageSize = 4096

// truncateLog cuts the end of a node's Raft log off.
func truncateLog(ctx context.Context, s *strike) (mend, error) {
	return s.damage(ctx, "cut the log", func(f *os.File, used int64) (string, error) {
		size := used/10 + s.random.Int64N(used*8/10)
		return fmt.Sprintf("at %d of %d bytes", size, used), f.Truncate(size)
	})
}

// flipBits changes bits of a node's Raft log.
func flipBits(ctx context.Context, s *strike) (mend, error) {
	return s.damage(ctx, "flip bits of the log", func(f *os.File, used int64) (string, error) {
		bits := 0
		// What comes last may look like a write that was not finished.
		for at := int64(0); at < used*9/10; at += pageSize {
			if err := flip(f, at+s.random.Int64N(min(pageSize, used*9/10-at)), s.random); err != nil {
				return "", err
			}
			bits++
		}
		return fmt.Sprintf("%d of them in %d bytes", bits, used), nil
	})
}

func flip(f *os.File, at int64, random *rand.Rand) error {
	one := make([]byte, 1)
	if _, err := f.ReadAt(one, at); err != nil {
		return err
	}
	one[0] ^= 1 << random.IntN(8)
	_, err := f.WriteAt(one, at)
	return err
}

// damage changes the log of a node that was killed. It must not start with it,
// and is replaced.
func (s *strike) damage(ctx context.Context, what string, change func(f *os.File, used int64) (string, error)) (mend, error) {
	n := s.victim(ctx)
	s.timeline.note("kill %s", n.Name)
	n.Kill()
	path, err := newestLog(n)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	used, err := usedBytes(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	how, err := change(f, used)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	s.timeline.note("%s of %s, %s, %s", what, n.Name, filepath.Base(path), how)
	if err := refusesToStart(ctx, n, "damaged"); err != nil {
		return nil, err
	}
	s.timeline.note("%s refuses to start: %s", n.Name, n.LastLog(1))
	if err := s.remove(ctx, n); err != nil {
		return nil, err
	}
	return nil, s.replace(ctx, n)
}

// newestLog is the file that a node writes its newest entries to.
func newestLog(n *harness.Node) (string, error) {
	segments, err := filepath.Glob(filepath.Join(n.Data, "raft", "wal", "*.wal"))
	if err != nil {
		return "", err
	}
	if len(segments) == 0 {
		return filepath.Join(n.Data, "raft", "raft.db"), nil
	}
	return slices.Max(segments), nil // names begin with their order
}

// usedBytes is where the last byte of a file is that is not zero: files are made
// larger than what is in them.
func usedBytes(f *os.File) (int64, error) {
	all, err := io.ReadAll(f)
	return int64(len(bytes.TrimRight(all, "\x00"))), err
}
