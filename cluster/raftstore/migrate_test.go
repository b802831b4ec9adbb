package raftstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func migrate(t *testing.T, dir, to string, step func()) (Migration, error) {
	t.Helper()
	return Migrate(t.Context(), dir, to, MigrateOptions{
		Options: Options{Guard: guard(t), Logger: hclog.NewNullLogger(), segment: segmentInTests}, step: step, batch: 40 << 10,
	})
}

func other(kind string) string {
	if kind == WAL {
		return Bolt
	}
	return WAL
}

// names lists what is in the directory of the stores.
func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// checkStores wants the vote and the log of 11 to 300 that trimmed makes.
func checkStores(t *testing.T, dir string) (kind string) {
	t.Helper()
	s := opened(t, dir)
	defer s.Close()
	checkVote(t, s.Stable, 3, "b")
	if s.Stable.Term() != 4 {
		t.Errorf("the term is %d", s.Stable.Term())
	}
	checkLog(t, s, 11, 300)
	return s.Kind
}

// trimmed makes stores with a log that began long ago.
func trimmed(t *testing.T, kind string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := created(t, dir, kind)
	for from := uint64(1); from <= 300; from += 100 {
		if err := s.Log.StoreLogs(batch(from, from+99)); err != nil {
			t.Fatal(err)
		}
	}
	took(t, s, 20)
	drop(t, s, 1, 10)
	vote(t, s.Stable, 3, "b")
	if err := s.Stable.SetUint64([]byte(keyTerm), 4); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	return dir
}

func TestLogIsMovedThereAndBack(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := trimmed(t, kind)
		for _, to := range []string{other(kind), kind, other(kind)} {
			m, err := migrate(t, dir, to, nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := (Migration{From: other(to), To: to, First: 11, Last: 300}); m != want || m.Entries() != 290 {
				t.Errorf("got %+v, want %+v", m, want)
			}
			if got := checkStores(t, dir); got != to {
				t.Errorf("the log is in %s, not in %s", got, to)
			}
			want := []string{fileBolt, "snapshots"}
			if to == WAL {
				want = append(want, dirWAL)
			}
			if got := names(t, dir); !slices.Equal(got, want) {
				t.Errorf("in the directory are %q, want %q", got, want)
			}
		}
	})
}

func TestEmptyLogIsMoved(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := t.TempDir()
		closed(t, created(t, dir, kind))
		if m, err := migrate(t, dir, other(kind), nil); err != nil || m.Entries() != 0 {
			t.Fatalf("%+v, %v", m, err)
		}
		s := opened(t, dir)
		defer s.Close()
		add(t, s, 1, 3)
		checkLog(t, s, 1, 3)
	})
}

func TestNothingIsMovedToWhereTheLogIs(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := trimmed(t, kind)
		if m, err := migrate(t, dir, kind, nil); err != nil || m.From != m.To {
			t.Fatalf("%+v, %v", m, err)
		}
		checkStores(t, dir)
	})
}

// TestStopWhileTheLogIsMovedLosesNothing stops at every step: the stores open as
// they are then, go on, and can be migrated again.
func TestStopWhileTheLogIsMovedLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := trimmed(t, kind)
		var stops []string
		if _, err := migrate(t, dir, other(kind), func() { stops = append(stops, copied(t, dir)) }); err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for i, stop := range stops {
			kinds = append(kinds, checkStores(t, stop))
			m, err := migrate(t, stop, other(kind), nil)
			if err != nil {
				t.Fatalf("again after step %d: %v", i, err)
			}
			if m.To != checkStores(t, stop) {
				t.Errorf("again after step %d: %+v", i, m)
			}
			want := names(t, dir)
			if got := names(t, stop); !slices.Equal(got, want) {
				t.Errorf("after step %d are left %q, want %q", i, got, want)
			}
		}
		before := slices.Index(kinds, other(kind))
		if before < 4 || len(kinds)-before < 2 || slices.Contains(kinds[before:], kind) {
			t.Errorf("after the steps the log was in %q", kinds)
		}
	})
}

func TestStopIsObeyedAndLeavesTheOldLog(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := trimmed(t, kind)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Migrate(ctx, dir, other(kind), MigrateOptions{Options: Options{Guard: guard(t), Logger: hclog.NewNullLogger()}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if got := checkStores(t, dir); got != kind {
			t.Errorf("the log is in %s", got)
		}
	})
}

func TestDamagedLogIsNotMoved(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := trimmed(t, kind)
		file := newest(t, dir, kind)
		if kind == WAL { // the newest is empty
			files, err := filepath.Glob(filepath.Join(dir, dirWAL, "*.wal"))
			if err != nil {
				t.Fatal(err)
			}
			file = files[0]
		}
		flip(t, file, string(entry(12).Data))
		if _, err := migrate(t, dir, other(kind), nil); err == nil {
			t.Fatal("a damaged log was moved")
		}
		if _, err := os.Stat(filepath.Join(dir, fileNew)); err == nil {
			t.Error("a part of a copy is left")
		}
	})
}
