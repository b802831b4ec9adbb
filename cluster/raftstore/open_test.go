package raftstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// segmentInTests is the size of segments, which tests copy often.
const segmentInTests = 32 << 10

// each runs a test over both kinds of log store.
func each(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range Kinds() {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

func open(t *testing.T, dir string) (*Stores, error) {
	t.Helper()
	return Open(dir, Options{Guard: guard(t), Logger: hclog.NewNullLogger(), segment: segmentInTests})
}

// opened is open where that must succeed.
func opened(t *testing.T, dir string) *Stores {
	t.Helper()
	s, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func created(t *testing.T, dir, kind string) *Stores {
	t.Helper()
	s, err := Open(dir, Options{Create: true, Kind: kind, Guard: guard(t), Logger: hclog.NewNullLogger(), segment: segmentInTests})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func batch(from, to uint64) (entries []*raft.Log) {
	for i := from; i <= to; i++ {
		entries = append(entries, entry(i))
	}
	return entries
}

func closed(t *testing.T, s *Stores) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func entry(index uint64) *raft.Log {
	return &raft.Log{Index: index, Term: 1, Data: []byte(strings.Repeat(fmt.Sprint(index), 100))}
}

// written makes stores with 50 entries and a vote and closes them.
func written(t *testing.T, kind string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := created(t, dir, kind)
	for i := uint64(1); i <= 50; i += 10 {
		if err := s.Log.StoreLogs(batch(i, i+9)); err != nil {
			t.Fatal(err)
		}
	}
	vote(t, s.Stable, 1, "a")
	closed(t, s)
	return dir
}

// newest returns the file that holds the newest entries.
func newest(t *testing.T, dir, kind string) string {
	t.Helper()
	if kind == Bolt {
		return filepath.Join(dir, fileBolt)
	}
	files, err := filepath.Glob(filepath.Join(dir, dirWAL, "*.wal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	return files[len(files)-1]
}

// checkLog wants the entries from one index to another, as entry makes them.
func checkLog(t *testing.T, s *Stores, from, to uint64) {
	t.Helper()
	first, err1 := s.Log.FirstIndex()
	last, err2 := s.Log.LastIndex()
	if err := errors.Join(err1, err2); err != nil || first != from || last != to {
		t.Fatalf("the log is of %d to %d (%v), want %d to %d", first, last, err, from, to)
	}
	for _, i := range []uint64{from - 1, to + 1} {
		if err := s.Log.GetLog(i, &raft.Log{}); err != raft.ErrLogNotFound { // Raft compares it so
			t.Fatalf("entry %d, which is not in the log: %v", i, err)
		}
	}
	for i := from; i <= to; i++ {
		var got raft.Log
		if err := s.Log.GetLog(i, &got); err != nil {
			t.Fatal(err)
		}
		if want := entry(i); got.Index != i || got.Term != want.Term || string(got.Data) != string(want.Data) || got.Extensions != nil {
			t.Fatalf("entry %d is %+v", i, got)
		}
	}
}

func TestStoresComeBack(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := written(t, kind)
		for range 3 {
			s := opened(t, dir)
			if s.Kind != kind {
				t.Errorf("the kind is %q", s.Kind)
			}
			checkVote(t, s.Stable, 1, "a")
			checkLog(t, s, 1, 50)
			closed(t, s)
		}
	})
}

func TestNewLogIsOfTheDefaultKind(t *testing.T) {
	s := created(t, t.TempDir(), "")
	defer s.Close()
	if s.Kind != WAL {
		t.Errorf("a new log is of kind %q", s.Kind)
	}
}

func TestLogOfAnotherKindIsRefused(t *testing.T) {
	for has, asked := range map[string]string{Bolt: WAL, WAL: Bolt} {
		dir := written(t, has)
		_, err := Open(dir, Options{Kind: asked, Guard: guard(t), Logger: hclog.NewNullLogger(), segment: segmentInTests})
		var other *OtherKindError
		if !errors.As(err, &other) || other.Has != has || other.Asked != asked {
			t.Errorf("opening a %s log as %s: %v", has, asked, err)
		}
		checkLog(t, opened(t, dir), 1, 50)
	}
}

func TestExistingLogIsNotMadeAgain(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := written(t, kind)
		if _, err := Open(dir, Options{Create: true, Guard: guard(t), Logger: hclog.NewNullLogger(), segment: segmentInTests}); err == nil {
			t.Fatal("a log was made over another")
		}
		checkLog(t, opened(t, dir), 1, 50)
	})
}

func TestFilesArePrivate(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := written(t, kind)
		err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if err == nil && !info.IsDir() && info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestDamagedLogIsRefusedAndLeftAlone(t *testing.T) {
	zero := func(d []byte, from, to int) []byte { clear(d[from:to]); return d }
	damages := map[string]func(d []byte) []byte{
		"missing":          func([]byte) []byte { return nil },
		"empty":            func([]byte) []byte { return []byte{} },
		"not a log":        func(d []byte) []byte { return []byte(strings.Repeat("no", len(d)/2)) },
		"cut":              func(d []byte) []byte { return d[:len(d)/3] },
		"cut to two pages": func(d []byte) []byte { return d[:8192] },
		"zeroed":           func(d []byte) []byte { return zero(d, 0, len(d)) },
	}
	only := map[string]map[string]func(d []byte) []byte{
		Bolt: {
			"zeroed middle":       func(d []byte) []byte { return zero(d, len(d)/4, len(d)/2) },
			"invalid first meta":  func(d []byte) []byte { d[40] ^= 1; return d },
			"invalid second meta": func(d []byte) []byte { d[os.Getpagesize()+40] ^= 1; return d },
		},
		WAL: {
			"zeroed middle": func(d []byte) []byte { return zero(d, 2000, 4000) },
			"zeroed end":    func(d []byte) []byte { return zero(d, 2000, len(d)) },
			"bad header":    func(d []byte) []byte { return zero(d, 0, 8) },
		},
	}
	each(t, func(t *testing.T, kind string) {
		for _, set := range []map[string]func([]byte) []byte{damages, only[kind]} {
			for name, damage := range set {
				t.Run(name, func(t *testing.T) { refused(t, written(t, kind), kind, damage) })
			}
		}
	})
}

// refused damages the newest file of the log and wants it named and untouched.
func refused(t *testing.T, dir, kind string, damage func([]byte) []byte) {
	t.Helper()
	file := newest(t, dir, kind)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data = damage(data)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if data != nil {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		s, err := open(t, dir)
		if err == nil {
			s.Close()
			t.Fatal("the damaged log was opened")
		}
		if !strings.Contains(err.Error(), file) {
			t.Errorf("the error does not name the file %s: %v", file, err)
		}
	}
	if after, _ := os.ReadFile(file); string(after) != string(data) {
		t.Error("the damaged file was changed")
	}
}

func TestMissingSegmentsFolderIsRefused(t *testing.T) {
	dir := written(t, WAL)
	if err := os.RemoveAll(filepath.Join(dir, dirWAL)); err != nil {
		t.Fatal(err)
	}
	if s, err := open(t, dir); err == nil {
		s.Close()
		t.Fatal("a log without its files was opened")
	} else if !strings.Contains(err.Error(), filepath.Join(dir, dirWAL)) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, dirWAL)); err == nil {
		t.Error("an empty log was made")
	}
}
