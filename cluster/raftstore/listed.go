package raftstore

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/hashicorp/raft-wal/types"
)

// keyList holds the list of segments: JSON, then its CRC-32C, big endian.
const keyList = "LogSegments"

// listed is what is stored under keyList.
type listed struct {
	Floor    uint64              `json:"floor"` // the log has reached this index
	Next     uint64              `json:"next"`  // id of the next segment
	Segments []types.SegmentInfo `json:"segments"`
}

// tail returns the segment that is written to, or nil.
func (l *listed) tail() *types.SegmentInfo {
	if n := len(l.Segments); n > 0 && l.Segments[n-1].SealTime.IsZero() {
		return &l.Segments[n-1]
	}
	return nil
}

func readList(bolt *raftboltdb.BoltStore) (listed, error) {
	var l listed
	data, err := value(bolt, keyList)
	if err != nil {
		return l, err
	}
	at := len(data) - crc32.Size
	if at < 0 || binary.BigEndian.Uint32(data[at:]) != castagnoli(data[:at]) {
		return l, fmt.Errorf("%s is %w: the list of the log's segments is not what was written", fileBolt, errDamaged)
	}
	if err := json.Unmarshal(data[:at], &l); err != nil {
		return l, fmt.Errorf("read the list of the log's segments: %w", err)
	}
	for i, info := range l.Segments {
		if info.BaseIndex == 0 || i > 0 && info.BaseIndex <= l.Segments[i-1].BaseIndex {
			return l, errors.New("the list of the log's segments is out of order")
		}
	}
	return l, nil
}

func writeList(bolt *raftboltdb.BoltStore, l listed) error {
	data, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode the list of the log's segments: %w", err)
	}
	return bolt.Set([]byte(keyList), binary.BigEndian.AppendUint32(data, castagnoli(data)))
}

func castagnoli(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }
