package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
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
	if s.Snapshots, err = raft.NewFileSnapshotStoreWithLogger(dir, retained, logger); err != nil {
		return err
	}
	return whole(s.bolt, s.Snapshots)
}

func openBolt(path string) (*raftboltdb.BoltStore, error) {
	if _, err := os.Stat(path); err == nil {
		if err := check(path); err != nil {
			return nil, err
		}
	}
	return raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        lockWait,
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
	})
}

// check walks an existing file without writing to it. Bolt panics, and a file
// that was cut short faults, where something is damaged; later that would happen
// in goroutines of bolt's own, where nobody could turn it into an error.
func check(path string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the file is damaged: %v", r)
		}
	}()
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		// Bolt would take it for a new one.
		return errors.New("the file is damaged: it is empty")
	}
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: lockWait, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.View(walk)
}

// walk reads every key and value and checks their order.
func walk(tx *bbolt.Tx) error {
	sum := crc32.NewIEEE()
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		var last []byte
		return b.ForEach(func(k, v []byte) error {
			if bytes.Compare(last, k) >= 0 && last != nil {
				return fmt.Errorf("the file is damaged: keys of %q are out of order", name)
			}
			last = append(last[:0], k...)
			sum.Write(v) // a page that is not there faults
			return nil
		})
	})
}

// Close closes the files.
func (s *Stores) Close() error { return s.bolt.Close() }
