package raftstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"waypoint/internal/atomicfile"
)

// The kinds of store that can hold the log.
const (
	Bolt = "bolt" // raft-boltdb, in the file that also has term and vote
	WAL  = "wal"  // raft-wal, in files of its own
	// Default is the kind of a new log.
	Default = WAL
)

// Kinds lists the kinds of log store.
func Kinds() []string { return []string{WAL, Bolt} }

const (
	fileBolt = "raft.db" // term, vote, and the log or the list of its segments
	dirWAL   = "wal"     // the segments
	// keyKind names in fileBolt the kind of store that holds the log.
	keyKind = "LogStore"

	// cached entries answer most reads of replication without the disk.
	cached = 1024
	// retained snapshots: the newest and one to fall back on.
	retained = 2
)

// errAbsent is what Raft expects of a stable store for a key that is not there.
var errAbsent = raftboltdb.ErrKeyNotFound

func absent(err error) bool { return errors.Is(err, errAbsent) }

// OtherKindError says that the log is in a store of another kind than was asked
// for.
type OtherKindError struct {
	Has, Asked string
}

// Error implements error.
func (e *OtherKindError) Error() string {
	return fmt.Sprintf("the Raft log is kept in %q, not in %q", e.Has, e.Asked)
}

// Options say what to open.
type Options struct {
	Create bool   // make new, empty stores; otherwise there must be some
	Kind   string // of the log; empty: what is there, or Default
	Guard  *Guard
	Logger hclog.Logger

	segment int // size of new segments in tests; 0: segmentSize
}

// Stores are the open stores of one node.
type Stores struct {
	Kind      string        // of the log
	Log       raft.LogStore // with a cache
	Stable    *Stable
	Snapshots raft.SnapshotStore
	Commands  *Commands

	bolt *raftboltdb.BoltStore
	wal  *segmented // nil if the log is in bolt
	sums *sums
}

// Open opens the stores in dir. An error names the file that is damaged; nothing
// is replaced, and nothing repaired but the end of a batch that was being
// written. It is an OtherKindError if the log is of another kind than asked for.
func Open(dir string, opts Options) (*Stores, error) {
	path := filepath.Join(dir, fileBolt)
	_, err := os.Stat(path)
	switch {
	case opts.Create && err == nil:
		return nil, fmt.Errorf("make Raft log: %s exists", path)
	case opts.Create:
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make Raft log: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("open Raft log %s: %w", path, err)
	}
	s, err := openStores(path, filepath.Join(dir, dirWAL), opts)
	if err != nil {
		return nil, err
	}
	if err := s.wrap(dir, opts); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// openStores opens the log and what belongs to it, unguarded.
func openStores(path, segments string, opts Options) (*Stores, error) {
	bolt, err := openBolt(path)
	if err != nil {
		return nil, fmt.Errorf("open Raft log %s: %w", path, err)
	}
	s := &Stores{bolt: bolt}
	if err := s.openLog(path, segments, opts); err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return s, nil
}

func (s *Stores) openLog(path, segments string, opts Options) (err error) {
	if opts.Create {
		err = s.create(path, segments, opts)
	} else {
		err = s.identify(path, opts.Kind)
	}
	if err != nil {
		return err
	}
	if s.Kind == Bolt {
		s.sums = &sums{inner: s.bolt, file: func(uint64) string { return path }}
		return nil
	}
	if s.wal, err = openSegmented(segments, s.bolt, opts); err != nil {
		return fmt.Errorf("open Raft log: %w", err)
	}
	s.sums = &sums{inner: s.wal, file: s.wal.file}
	return nil
}

// create makes an empty log. Its kind is written last: without it the file is of
// no use.
func (s *Stores) create(path, segments string, opts Options) error {
	s.Kind = opts.Kind
	if s.Kind == "" {
		s.Kind = Default
	}
	if s.Kind == WAL {
		if err := createSegmented(segments, s.bolt); err != nil {
			return fmt.Errorf("make Raft log: %w", err)
		}
	}
	if err := s.bolt.Set([]byte(keyKind), []byte(s.Kind)); err != nil {
		return fmt.Errorf("make Raft log %s: %w", path, err)
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

func (s *Stores) identify(path, asked string) error {
	kind, err := value(s.bolt, keyKind)
	if err != nil {
		return fmt.Errorf("open Raft log %s: %w", path, err)
	}
	s.Kind = string(kind)
	switch {
	case s.Kind != Bolt && s.Kind != WAL:
		return fmt.Errorf("open Raft log %s: it is of the unknown kind %q", path, s.Kind)
	case asked != "" && asked != s.Kind:
		return &OtherKindError{Has: s.Kind, Asked: asked}
	}
	return nil
}

func (s *Stores) wrap(dir string, opts Options) (err error) {
	if s.Stable, err = NewStable(small{s.bolt}, opts.Guard); err != nil {
		return fmt.Errorf("open Raft log %s: %w", filepath.Join(dir, fileBolt), err)
	}
	if s.Snapshots, err = raft.NewFileSnapshotStoreWithLogger(dir, retained, opts.Logger); err != nil {
		return fmt.Errorf("open Raft snapshots: %w", err)
	}
	if err := whole(s.sums, s.Snapshots); err != nil {
		return fmt.Errorf("open Raft log in %s: %w", dir, err)
	}
	if s.Log, err = raft.NewLogCache(cached, NewLog(s.sums, opts.Guard)); err != nil {
		return fmt.Errorf("open Raft log: %w", err)
	}
	s.Commands = NewCommands(s.Log)
	return nil
}

// Close closes the files.
func (s *Stores) Close() error {
	var err error
	if s.wal != nil {
		err = s.wal.Close()
	}
	return errors.Join(err, s.bolt.Close())
}
