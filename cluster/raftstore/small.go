package raftstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// small is a stable store that stores a CRC-32C of key and value behind each
// value, big endian, and verifies it: with a wrong term or vote this node could
// vote twice.
type small struct{ inner raft.StableStore }

// Set implements raft.StableStore.
func (s small) Set(key, val []byte) error {
	stored := make([]byte, 0, len(val)+crc32.Size)
	stored = append(stored, val...)
	return s.inner.Set(key, binary.BigEndian.AppendUint32(stored, smallSum(key, val)))
}

// Get implements raft.StableStore.
func (s small) Get(key []byte) ([]byte, error) {
	stored, err := s.inner.Get(key)
	if err != nil {
		return nil, err
	}
	at := len(stored) - crc32.Size
	if at < 0 || binary.BigEndian.Uint32(stored[at:]) != smallSum(key, stored[:at]) {
		return nil, fmt.Errorf("the file is %w: %s is not what was written", errDamaged, key)
	}
	return stored[:at:at], nil
}

// SetUint64 implements raft.StableStore.
func (s small) SetUint64(key []byte, n uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, n))
}

// GetUint64 implements raft.StableStore.
func (s small) GetUint64(key []byte) (uint64, error) {
	val, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(val) != 8 {
		return 0, fmt.Errorf("%s has %d bytes instead of 8", key, len(val))
	}
	return binary.BigEndian.Uint64(val), nil
}

func smallSum(key, val []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key, table), table, val)
}

var _ raft.StableStore = small{}
