package raftstore

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// Log is a log store whose writes are guarded, and where damage is fatal.
type Log struct {
	inner raft.LogStore
	guard *Guard
}

// NewLog wraps inner.
func NewLog(inner raft.LogStore, guard *Guard) *Log {
	return &Log{inner: inner, guard: guard}
}

// StoreLog implements raft.LogStore.
func (l *Log) StoreLog(entry *raft.Log) error {
	return l.StoreLogs([]*raft.Log{entry})
}

// StoreLogs implements raft.LogStore.
func (l *Log) StoreLogs(entries []*raft.Log) error {
	return l.guard.Do("append to the Raft log", func() error { return l.inner.StoreLogs(entries) })
}

// DeleteRange implements raft.LogStore.
func (l *Log) DeleteRange(from, to uint64) error {
	return l.guard.Do("truncate the Raft log", func() error { return l.inner.DeleteRange(from, to) })
}

// FirstIndex implements raft.LogStore.
func (l *Log) FirstIndex() (uint64, error) { return l.inner.FirstIndex() }

// LastIndex implements raft.LogStore.
func (l *Log) LastIndex() (uint64, error) { return l.inner.LastIndex() }

// GetLog implements raft.LogStore. An entry that is not what was written ends
// the process: applied, it would make this node differ from the others.
func (l *Log) GetLog(index uint64, entry *raft.Log) error {
	err := l.inner.GetLog(index, entry)
	if errors.Is(err, errDamaged) {
		l.guard.fail(err)
	}
	return err
}

// IsMonotonic implements raft.MonotonicLogStore: Raft then empties the log when
// it takes a snapshot that is ahead of it. Bolt could keep the old entries, but
// they would leave a hole, and one behind the last common entry may be of
// another history.
func (l *Log) IsMonotonic() bool { return true }

var (
	_ raft.LogStore          = (*Log)(nil)
	_ raft.MonotonicLogStore = (*Log)(nil)
)

// Commands tells commands from Raft's own entries in a log.
type Commands struct {
	logs raft.LogStore

	mu    sync.Mutex
	upTo  uint64 // the highest question so far, and
	found uint64 // its answer
}

// NewCommands reads logs.
func NewCommands(logs raft.LogStore) *Commands { return &Commands{logs: logs} }

// Newest returns the index of the newest command at or below upTo, which must
// be committed. Raft's own entries (no-op, barrier, configuration) never reach
// the state machine, so a reader that waited for one would wait for ever. It is
// 0 if the log holds no such command any more; the newest is then in the
// snapshot that replaced it.
func (c *Commands) Newest(upTo uint64) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := upTo; i > 0; i-- {
		if i == c.upTo {
			c.upTo = upTo
			return c.found, nil
		}
		var entry raft.Log
		err := c.logs.GetLog(i, &entry)
		if errors.Is(err, raft.ErrLogNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read log entry %d: %w", i, err)
		}
		if entry.Type == raft.LogCommand {
			c.upTo, c.found = upTo, i
			return i, nil
		}
	}
	return 0, nil
}
