package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	bolterrors "go.etcd.io/bbolt/errors"
)

// What is stored behind an entry's own extensions: its position in the batch
// that it was written in and the checksum, big endian, then the version of all
// this. There is no entry without it.
const (
	sealVersion = 1
	sealSize    = 4 + 4 + 1
)

// errDamaged is in each error that tells of an entry that is not what was
// written.
var errDamaged = errors.New("damaged")

// sums is a log store that stores a checksum with each entry and verifies it on
// each read. The stores below verify nothing.
type sums struct {
	inner raft.LogStore
	file  func(index uint64) string // where an entry is, for errors
}

// StoreLog implements raft.LogStore.
func (s *sums) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore. The entries themselves stay as they are.
func (s *sums) StoreLogs(entries []*raft.Log) error {
	sealed := make([]raft.Log, len(entries))
	stored := make([]*raft.Log, len(entries))
	for i, entry := range entries {
		sealed[i] = *entry
		sealed[i].Extensions = seal(entry, uint32(i))
		stored[i] = &sealed[i]
	}
	return s.inner.StoreLogs(stored)
}

// GetLog implements raft.LogStore.
func (s *sums) GetLog(index uint64, entry *raft.Log) error {
	_, err := s.get(index, entry)
	return err
}

// get is GetLog and returns the entry's position in its batch.
func (s *sums) get(index uint64, entry *raft.Log) (position uint32, err error) {
	if err = read(s.inner, index, entry); err == nil {
		if position, err = unseal(entry); err == nil && entry.Index != index {
			err = fmt.Errorf("it says it is entry %d", entry.Index)
		}
	}
	switch {
	case err == nil:
		return position, nil
	case errors.Is(err, raft.ErrLogNotFound), errors.Is(err, wal.ErrClosed), errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return 0, err
	}
	return 0, fmt.Errorf("the file %s is %w: entry %d: %w", s.file(index), errDamaged, index, err)
}

func read(logs raft.LogStore, index uint64, entry *raft.Log) (err error) {
	defer caught(&err)
	return logs.GetLog(index, entry)
}

// caught turns a panic of a decoder that met damaged bytes into an error.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("decode: %v", r)
	}
}

// DeleteRange implements raft.LogStore.
func (s *sums) DeleteRange(from, to uint64) error { return s.inner.DeleteRange(from, to) }

// FirstIndex implements raft.LogStore.
func (s *sums) FirstIndex() (uint64, error) { return s.inner.FirstIndex() }

// LastIndex implements raft.LogStore.
func (s *sums) LastIndex() (uint64, error) { return s.inner.LastIndex() }

// seal returns the extensions that an entry is stored with.
func seal(entry *raft.Log, position uint32) []byte {
	ext := make([]byte, 0, len(entry.Extensions)+sealSize)
	ext = append(ext, entry.Extensions...)
	ext = binary.BigEndian.AppendUint32(ext, position)
	ext = binary.BigEndian.AppendUint32(ext, sum(entry, ext))
	return append(ext, sealVersion)
}

// unseal verifies an entry that was read and gives it its own extensions back.
func unseal(entry *raft.Log) (position uint32, err error) {
	own := len(entry.Extensions) - sealSize
	if own < 0 || entry.Extensions[own+8] != sealVersion {
		return 0, errors.New("it has no checksum")
	}
	covered, stored := entry.Extensions[:own+4], binary.BigEndian.Uint32(entry.Extensions[own+4:])
	if got := sum(entry, covered); got != stored {
		return 0, fmt.Errorf("its checksum is %08x, and %08x was stored", got, stored)
	}
	position = binary.BigEndian.Uint32(covered[own:])
	entry.Extensions = covered[:own:own]
	if own == 0 {
		entry.Extensions = nil
	}
	return position, nil
}

// sum is the CRC-32C of all of an entry that matters, with ext as extensions.
func sum(entry *raft.Log, ext []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	var head [8 + 8 + 1 + 8]byte
	binary.BigEndian.PutUint64(head[0:], entry.Index)
	binary.BigEndian.PutUint64(head[8:], entry.Term)
	head[16] = byte(entry.Type)
	binary.BigEndian.PutUint64(head[17:], uint64(len(entry.Data)))
	crc := crc32.Update(0, table, head[:])
	crc = crc32.Update(crc, table, entry.Data)
	return crc32.Update(crc, table, ext)
}

var _ raft.LogStore = (*sums)(nil)
