package raftstore

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"waypoint/internal/atomicfile"
)

const (
	// segmentSize is what a segment file takes on disk from its first entry on.
	segmentSize = 16 << 20
	// floorEvery is how many entries may be added before the floor follows.
	floorEvery = 4096
)

// segmented is a log in segment files, of which raft-wal knows how to write and
// read them. The list of them is kept beside the term and the vote.
type segmented struct {
	*wal.WAL
	list *list
}

// createSegmented makes an empty log in dir; of what an interrupted try left
// there nothing stays.
func createSegmented(dir string, bolt *raftboltdb.BoltStore) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	return writeList(bolt, listed{})
}

// openSegmented checks the newest segment, which raft-wal would shorten where it
// is damaged, and opens the log. The other segments are checked by reading them.
func openSegmented(dir string, bolt *raftboltdb.BoltStore, opts Options) (*segmented, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err // raft-wal would make an empty one
	}
	was, err := readList(bolt)
	if err != nil {
		return nil, err
	}
	l := &list{bolt: bolt, guard: opts.Guard, dir: dir, size: cmp.Or(opts.segment, segmentSize), was: was}
	if err := l.recoverTail(); err != nil {
		return nil, err
	}
	w, err := wal.Open(dir, wal.WithMetaStore(l), wal.WithLogger(opts.Logger.Named("wal")), wal.WithSegmentSize(l.size),
		wal.WithSegmentFiler(&filer{Filer: segment.NewFiler(dir, vfs{fs.New()}), guard: opts.Guard}))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	s := &segmented{WAL: w, list: l}
	if err := s.raise(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return s, nil
}

// StoreLog implements raft.LogStore.
func (s *segmented) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (s *segmented) StoreLogs(entries []*raft.Log) error {
	if err := s.WAL.StoreLogs(entries); err != nil || len(entries) == 0 {
		return err
	}
	return s.list.reached(entries[len(entries)-1].Index)
}

// GetLog implements raft.LogStore. Raft-wal would still return what was deleted
// from the front of the newest segment.
func (s *segmented) GetLog(index uint64, entry *raft.Log) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	if index < first {
		return raft.ErrLogNotFound
	}
	return s.WAL.GetLog(index, entry)
}

// raise sets the floor to the end of the log.
func (s *segmented) raise() error {
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	return s.list.raise(last)
}

// Close notes where the log ends and closes its files.
func (s *segmented) Close() error {
	var err error
	if s.list.guard.err() == nil {
		err = s.raise()
	}
	return errors.Join(err, s.WAL.Close())
}

// file returns the path of the segment that holds, or would hold, an entry.
func (s *segmented) file(index uint64) string {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	name := ""
	for _, info := range s.list.was.Segments {
		if name == "" || info.BaseIndex <= index {
			name = segment.FileName(info)
		}
	}
	return filepath.Join(s.list.dir, name)
}

// filer makes segment files. A failure, such as a full disk, would otherwise
// only be seen in the next write, as a segment that is full.
type filer struct {
	*segment.Filer
	guard *Guard
}

// Create implements types.SegmentFiler.
func (f *filer) Create(info types.SegmentInfo) (types.SegmentWriter, error) {
	var made types.SegmentWriter
	err := f.guard.Do("make a segment of the Raft log", func() (err error) {
		made, err = f.Filer.Create(info)
		return err
	})
	return made, err
}

// list is what raft-wal keeps its list of segments in. It also keeps the floor:
// an index that the log is known to have reached.
type list struct {
	bolt  *raftboltdb.BoltStore
	guard *Guard
	dir   string
	size  int // of new segments

	mu  sync.Mutex
	was listed
}

// Load implements types.MetaStore.
func (l *list) Load(string) (types.PersistentState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return types.PersistentState{NextSegmentID: l.was.Next, Segments: l.was.Segments}, nil
}

// CommitState implements types.MetaStore. A new newest segment begins right
// behind what the log has then.
func (l *list) CommitState(state types.PersistentState) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := listed{Floor: l.was.Floor, Next: state.NextSegmentID, Segments: state.Segments}
	if tail := next.tail(); tail != nil {
		if old := l.was.tail(); old == nil || old.ID != tail.ID {
			next.Floor = tail.BaseIndex - 1
		}
	}
	return l.write(next)
}

func (l *list) write(next listed) error {
	err := l.guard.Do("store the list of the Raft log's segments", func() error { return writeList(l.bolt, next) })
	if err == nil {
		l.was = next
	}
	return err
}

// reached notes now and then that the entries up to index are on disk: always
// with the first ones in a segment, so that a missing file is never taken for
// one that was not written yet.
func (l *list) reached(index uint64) error {
	l.mu.Lock()
	tail := l.was.tail()
	due := index > l.was.Floor && (tail != nil && l.was.Floor < tail.BaseIndex || index-l.was.Floor >= floorEvery)
	l.mu.Unlock()
	if !due {
		return nil
	}
	return l.raise(index)
}

func (l *list) raise(index uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index <= l.was.Floor {
		return nil
	}
	next := l.was
	next.Floor = index
	return l.write(next)
}

// GetStable implements types.MetaStore. Nothing is kept there.
func (l *list) GetStable([]byte) ([]byte, error) { return nil, errors.ErrUnsupported }

// SetStable implements types.MetaStore. Nothing is kept there.
func (l *list) SetStable([]byte, []byte) error { return errors.ErrUnsupported }

// Close implements types.MetaStore. The file is closed by who opened it.
func (l *list) Close() error { return nil }

var (
	_ raft.LogStore      = (*segmented)(nil)
	_ types.MetaStore    = (*list)(nil)
	_ types.SegmentFiler = (*filer)(nil)
)
