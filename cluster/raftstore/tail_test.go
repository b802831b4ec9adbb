package raftstore

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/fs"
)

// copied returns a copy of a directory with open stores: what is there if the
// process is killed now.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// stopped makes a log of three batches, of entries 1 to 10, 11 to 20 and 21 to
// 30, and returns what a kill leaves. The floor is at 10.
func stopped(t *testing.T) (dir, file string) {
	t.Helper()
	running := t.TempDir()
	s := created(t, running, WAL)
	for _, from := range []uint64{1, 11, 21} {
		if err := s.Log.StoreLogs(batch(from, from+9)); err != nil {
			t.Fatal(err)
		}
	}
	dir = copied(t, running)
	closed(t, s)
	return dir, newest(t, dir, WAL)
}

// find returns where in a segment the frame of an entry begins.
func find(t *testing.T, data []byte, index uint64) int {
	t.Helper()
	at := strings.Index(string(data), string(entry(index).Data))
	for ; at > 0; at-- {
		if at%8 == 0 && data[at] == 1 && binary.LittleEndian.Uint32(data[at:]) == 1 && uint64(data[at+8]) == index {
			return at
		}
	}
	t.Fatalf("entry %d is not in the segment", index)
	return 0
}

func edit(t *testing.T, file string, change func(data []byte)) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	change(data)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUnfinishedBatchIsRemoved(t *testing.T) {
	for name, tear := range map[string]func(t *testing.T, data []byte){
		"end missing":         func(t *testing.T, d []byte) { clear(d[find(t, d, 25):]) },
		"all missing":         func(t *testing.T, d []byte) { clear(d[find(t, d, 21):]) },
		"beginning missing":   func(t *testing.T, d []byte) { at := find(t, d, 21); clear(d[at : at+64]) },
		"middle missing":      func(t *testing.T, d []byte) { clear(d[find(t, d, 24):find(t, d, 26)]) },
		"byte in the middle":  func(t *testing.T, d []byte) { d[find(t, d, 25)+20] ^= 1 },
		"only the end is bad": func(t *testing.T, d []byte) { at := find(t, d, 30); clear(d[at+150 : at+400]) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := stopped(t)
			edit(t, file, func(d []byte) { tear(t, d) })
			s := opened(t, dir)
			checkLog(t, s, 1, 20)
			// What was left of it must not come back with what is written now.
			if err := s.Log.StoreLogs(batch(21, 22)); err != nil {
				t.Fatal(err)
			}
			closed(t, s)
			s = opened(t, dir)
			defer s.Close()
			checkLog(t, s, 1, 22)
		})
	}
}

func TestLossBehindWhichTheLogWentOnIsRefused(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, data []byte){
		"byte of an entry":      func(t *testing.T, d []byte) { d[find(t, d, 15)+20] ^= 1 },
		"length of an entry":    func(t *testing.T, d []byte) { d[find(t, d, 15)+5] ^= 1 },
		"type of a frame":       func(t *testing.T, d []byte) { d[find(t, d, 11)] = 9 },
		"batch zeroed":          func(t *testing.T, d []byte) { clear(d[find(t, d, 11):find(t, d, 21)]) },
		"one entry is left":     func(t *testing.T, d []byte) { clear(d[find(t, d, 11):find(t, d, 30)]) },
		"everything since 15":   func(t *testing.T, d []byte) { clear(d[find(t, d, 15):find(t, d, 27)]) },
		"below the floor":       func(t *testing.T, d []byte) { clear(d[find(t, d, 5):]) },
		"first batch":           func(t *testing.T, d []byte) { d[find(t, d, 3)+20] ^= 1 },
		"header of the segment": func(_ *testing.T, d []byte) { d[9] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := stopped(t)
			edit(t, file, func(d []byte) { damage(t, d) })
			before, _ := os.ReadFile(file)
			s, err := open(t, dir)
			if err == nil {
				s.Close()
				t.Fatal("the damaged log was opened")
			}
			if !strings.Contains(err.Error(), file) {
				t.Errorf("the error does not name the file: %v", err)
			}
			if after, _ := os.ReadFile(file); string(after) != string(before) {
				t.Error("the damaged file was changed")
			}
		})
	}
}

func TestEndOfAClosedLogIsKnown(t *testing.T) {
	dir := written(t, WAL)
	edit(t, newest(t, dir, WAL), func(d []byte) { clear(d[find(t, d, 50):]) })
	if s, err := open(t, dir); err == nil {
		s.Close()
		t.Fatal("the last entry is gone and nobody saw it")
	} else if !strings.Contains(err.Error(), "had reached 50") {
		t.Error(err)
	}
}

func TestFloorFollowsALongLog(t *testing.T) {
	s, err := Open(t.TempDir(), Options{Create: true, Guard: guard(t), Logger: hclog.NewNullLogger()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for from := uint64(1); from < 3*floorEvery; from += 512 {
		if err := s.Log.StoreLogs(batch(from, from+511)); err != nil {
			t.Fatal(err)
		}
	}
	last, err := s.Log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	l, err := readList(s.bolt)
	if err != nil || len(l.Segments) != 1 || l.Floor+floorEvery < last {
		t.Errorf("the floor is %d of %d: %v", l.Floor, last, err)
	}
}

// full fills a segment with one write and returns what is there right after it.
func full(t *testing.T) string {
	t.Helper()
	running := t.TempDir()
	s := created(t, running, WAL)
	defer s.Close()
	if err := s.Log.StoreLogs(batch(1, 3)); err != nil {
		t.Fatal(err)
	}
	s.wal.list.mu.Lock() // raft-wal cannot end the segment
	if err := s.wal.WAL.StoreLogs(sealed(&raft.Log{Index: 4, Term: 1, Data: bytes.Repeat([]byte("x"), segmentInTests)})); err != nil {
		t.Fatal(err)
	}
	dir := copied(t, running)
	s.wal.list.mu.Unlock()
	return dir
}

func sealed(e *raft.Log) []*raft.Log {
	e.Extensions = seal(e, 0)
	return []*raft.Log{e}
}

// TestSegmentThatWasJustFilledGoesOn is about a defect of raft-wal 0.4.2, which
// then refuses every write with "segment is sealed".
func TestSegmentThatWasJustFilledGoesOn(t *testing.T) {
	dir := full(t)
	for last := uint64(4); last < 7; last++ {
		s := opened(t, dir)
		if err := s.Log.StoreLog(entry(last + 1)); err != nil {
			t.Fatal(err)
		}
		closed(t, s)
	}
	s := opened(t, dir)
	defer s.Close()
	if last, err := s.Log.LastIndex(); last != 7 || err != nil {
		t.Errorf("the log ends at %d, %v", last, err)
	}
}

func TestTornFillingOfASegmentGoesOn(t *testing.T) {
	dir := full(t)
	edit(t, newest(t, dir, WAL), func(d []byte) { clear(d[segmentInTests/4 : segmentInTests/2]) })
	s := opened(t, dir)
	checkLog(t, s, 1, 3)
	add(t, s, 4, 6)
	closed(t, s)
	s = opened(t, dir)
	defer s.Close()
	checkLog(t, s, 1, 6)
}

func TestOldSegmentsAreVerifiedToo(t *testing.T) {
	dir := t.TempDir()
	s := created(t, dir, WAL)
	add(t, s, 1, 3)
	if err := s.Log.StoreLog(&raft.Log{Index: 4, Term: 1, Data: make([]byte, segmentInTests)}); err != nil {
		t.Fatal(err)
	}
	add(t, s, 5, 8)
	closed(t, s)
	files, err := filepath.Glob(filepath.Join(dir, dirWAL, "*.wal"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%d segments, %v", len(files), err)
	}
	edit(t, files[0], func(d []byte) { d[find(t, d, 2)+20] ^= 1 })
	if s, err := open(t, dir); err == nil {
		s.Close()
		t.Fatal("the damaged log was opened")
	} else if !strings.Contains(err.Error(), files[0]+" is damaged: entry 2") {
		t.Error(err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if s, err := open(t, dir); err == nil {
		s.Close()
		t.Fatal("a log without its first segment was opened")
	} else if !strings.Contains(err.Error(), files[0]) {
		t.Error(err)
	}
}

func TestLogIsCutAtBothEnds(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := written(t, kind)
		s := opened(t, dir)
		took(t, s, 20)
		drop(t, s, 1, 10)
		drop(t, s, 41, 50)
		checkLog(t, s, 11, 40)
		killed := copied(t, dir)
		add(t, s, 41, 45)
		checkLog(t, s, 11, 45)
		closed(t, s)
		for dir, last := range map[string]uint64{dir: 45, killed: 40} {
			s = opened(t, dir)
			checkLog(t, s, 11, last)
			closed(t, s)
		}
	})
}

func TestLogBeginsAnywhereOnceItIsEmpty(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := written(t, kind)
		s := opened(t, dir)
		took(t, s, 100)
		drop(t, s, 1, 50)
		empty := copied(t, dir)
		add(t, s, 101, 105)
		killed := copied(t, dir)
		closed(t, s)
		for _, dir := range []string{dir, killed} {
			s = opened(t, dir)
			checkLog(t, s, 101, 105)
			closed(t, s)
		}
		s = opened(t, empty)
		defer s.Close()
		add(t, s, 101, 102)
		checkLog(t, s, 101, 102)
	})
}

func TestFileThatWasOnlyMadeCountsForNothing(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, file string){
		"not made":     func(t *testing.T, file string) { must(t, os.Remove(file)) },
		"made in part": func(t *testing.T, file string) { must(t, os.Truncate(file, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := created(t, dir, WAL)
			killed := copied(t, dir)
			closed(t, s)
			leave(t, newest(t, killed, WAL))
			s = opened(t, killed)
			add(t, s, 1, 5)
			closed(t, s)
			s = opened(t, killed)
			defer s.Close()
			checkLog(t, s, 1, 5)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSegmentHasContentAheadOfItsEntries is what makes its syncs cheap.
func TestSegmentHasContentAheadOfItsEntries(t *testing.T) {
	v := vfs{fs.New()}
	dir := t.TempDir()
	f, err := v.Create(dir, "a", 3*zeroAhead)
	if err != nil {
		t.Fatal(err)
	}
	at, extended, zeroed := int64(0), 0, int64(0)
	for at <= 3*zeroAhead { // in the end beyond the size that it was made with
		if _, err := f.WriteAt(bytes.Repeat([]byte("x"), 1000), at); err != nil {
			t.Fatal(err)
		}
		at += 1000
		if got := f.(*segmentFile).zeroed; got != zeroed {
			extended, zeroed = extended+1, got
		}
		if zeroed < at {
			t.Fatalf("with entries up to %d the file has content up to %d", at, zeroed)
		}
	}
	must(t, f.Sync())
	if extended > 5 {
		t.Errorf("the content was extended %d times", extended)
	}
	must(t, f.Close())
	data, err := os.ReadFile(filepath.Join(dir, "a"))
	if err != nil || len(data) != int(at) || len(bytes.Trim(data, "x")) != 0 {
		t.Errorf("%d bytes, of which some are not what was written: %v", len(data), err)
	}
}
