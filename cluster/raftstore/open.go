package raftstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const (
	// cached entries answer most reads of replication without the disk.
	cached = 1024
	// retained snapshots: the newest and one to fall back on.
	retained = 2
	// lockWait is how long an open waits for another process to let go.
	lockWait = time.Second
)

// errAbsent is what Raft expects of a stable store for a key that is not there.
var errAbsent = raftboltdb.ErrKeyNotFound

func absent(err error) bool { return errors.Is(err, errAbsent) }

// Stores are the open stores of one node.
type Stores struct {
	Log       raft.LogStore // with a cache
	Stable    *Stable
	Snapshots raft.SnapshotStore
	Commands  *Commands

	bolt *raftboltdb.BoltStore
}

// Open opens the stores in dir, which must hold some unless create is set. An
// error names the file that is damaged; nothing is repaired or replaced.
func Open(dir string, create bool, guard *Guard, logger hclog.Logger) (*Stores, error) {
	path := filepath.Join(dir, "raft.db")
	if _, err := os.Stat(path); err != nil && !create {
		return nil, fmt.Errorf("open Raft log %s: %w", path, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open Raft log: %w", err)
	}
	bolt, err := openBolt(path)
	if err != nil {
		return nil, fmt.Errorf("open Raft log %s: %w", path, err)
	}
	s := &Stores{bolt: bolt}
	if err := s.wrap(dir, guard, logger); err != nil {
		return nil, errors.Join(fmt.Errorf("open Raft log %s: %w", path, err), bolt.Close())
	}
	return s, nil
}

func (s *Stores) wrap(dir string, guard *Guard, logger hclog.Logger) (err error) {
	if s.Stable, err = NewStable(s.bolt, guard); err != nil {
		return err
	}
	if s.Log, err = raft.NewLogCache(cached, NewLog(s.bolt, guard)); err != nil {
		return err
	}
	s.Commands = NewCommands(s.Log)
	s.Snapshots, err = raft.NewFileSnapshotStoreWithLogger(dir, retained, logger)
	return err
}

// openBolt turns the panics and page faults that a damaged file causes while it
// is opened into an error. With NoFreelistSync an open reads every page.
func openBolt(path string) (bolt *raftboltdb.BoltStore, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			bolt, err = nil, fmt.Errorf("the file is damaged: %v", r)
		}
	}()
	bolt, err = raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        lockWait,
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if err != nil {
		return nil, err
	}
	if err := scan(bolt); err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return bolt, nil
}

// scan reads the whole log once: a hole or an entry that cannot be decoded is
// found before this node takes part in the cluster, not in the middle of it.
func scan(logs raft.LogStore) error {
	first, err := logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return err
	}
	for i := first; i <= last && i > 0; i++ {
		var entry raft.Log
		if err := logs.GetLog(i, &entry); err != nil {
			return fmt.Errorf("the file is damaged: entry %d of %d to %d: %w", i, first, last, err)
		}
		if entry.Index != i {
			return fmt.Errorf("the file is damaged: entry %d says it is %d", i, entry.Index)
		}
	}
	return nil
}

// Close closes the files.
func (s *Stores) Close() error { return s.bolt.Close() }
