package raftstore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"waypoint/internal/atomicfile"
)

// The frames of a segment file: a header of 8 bytes (type, 3 zeros, length or
// CRC-32C, little endian), the payload, zeros up to a multiple of 8. A commit
// frame ends a batch and has the checksum of the batch.
const (
	fileHeader  = 32
	frameHeader = 8
	// maxSought bounds an entry that is looked for behind damage; commands are
	// smaller.
	maxSought = 1 << 20
)

// tail is the newest segment as it was found.
type tail struct {
	last       uint64 // index of its last entry; one before its first if there is none
	end        int64  // of the last whole batch; 0 if there is none
	indexStart uint64 // of the offsets that end a full segment; 0 if it is not full
}

// recoverTail makes the newest segment one that raft-wal opens as it is. The
// batch that was being written when the process ended is removed, which is as
// if it had not been written: nobody was told that it was. That the batch was
// not the last, or that the floor is above it, shows damage.
//
// It also ends a segment that was full: raft-wal 0.4.2 does that after the write
// that filled it, and one that was stopped in between refuses every write from
// then on.
func (l *list) recoverTail() error {
	info := l.was.tail()
	if info == nil {
		return nil
	}
	path := filepath.Join(l.dir, segment.FileName(*info))
	begun := l.was.Floor >= info.BaseIndex // something in it counts
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) && !begun {
		return nil // raft-wal makes it
	}
	if err != nil {
		return err
	}
	found, err := l.checkTail(f, path, *info, begun)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(l.dir); err != nil {
		return err
	}
	switch {
	case found.indexStart > 0:
		return l.seal(*info, found)
	case !begun && found.end == 0:
		// It may have been made only in part, so raft-wal makes it again.
		return os.Remove(path)
	}
	return nil
}

func (l *list) checkTail(f *os.File, path string, info types.SegmentInfo, begun bool) (tail, error) {
	stat, err := f.Stat()
	if err != nil {
		return tail{}, err
	}
	size := stat.Size()
	if begun && size < int64(info.SizeLimit) {
		return tail{}, fmt.Errorf("the file %s is %w: it has %d bytes, and was made with %d", path, errDamaged, size, info.SizeLimit)
	}
	found, err := readBatches(f, size, info.BaseIndex)
	if err != nil {
		return found, fmt.Errorf("read %s: %w", path, err)
	}
	if found.last < l.was.Floor {
		return found, fmt.Errorf("the file %s is %w: entry %d cannot be read, and the log had reached %d", path, errDamaged, found.last+1, l.was.Floor)
	}
	end, reached, err := leftBehind(f, found.end, size, found.last)
	switch {
	case err != nil:
		return found, fmt.Errorf("read %s: %w", path, err)
	case reached > found.last:
		return found, fmt.Errorf("the file %s is %w: entry %d cannot be read, and the log had reached %d", path, errDamaged, found.last+1, reached)
	}
	// What is left of a batch could be taken for part of what is written next.
	if _, err := f.WriteAt(make([]byte, end-found.end), found.end); err != nil {
		return found, err
	}
	if size < int64(info.SizeLimit) {
		if err := f.Truncate(int64(info.SizeLimit)); err != nil {
			return found, err
		}
	}
	// A process that was killed may not have synced what was read here.
	return found, f.Sync()
}

// seal ends a full segment in the list and begins the next.
func (l *list) seal(info types.SegmentInfo, found tail) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.was
	next.Floor = found.last
	next.Segments = append([]types.SegmentInfo(nil), l.was.Segments...)
	full := &next.Segments[len(next.Segments)-1]
	full.SealTime, full.MaxIndex, full.IndexStart = info.CreateTime, found.last, found.indexStart
	next.Segments = append(next.Segments, types.SegmentInfo{
		ID: next.Next, BaseIndex: found.last + 1, MinIndex: found.last + 1,
		Codec: info.Codec, CreateTime: info.CreateTime, SizeLimit: uint32(l.size),
	})
	next.Next++
	return l.write(next)
}

// readBatches reads the batches of a segment up to the first that is not whole.
func readBatches(f *os.File, size int64, base uint64) (tail, error) {
	found := tail{last: base - 1}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	in := io.TeeReader(bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 1<<20), sum)
	if _, err := io.CopyN(io.Discard, in, fileHeader); err != nil {
		return found, ended(err)
	}
	var entries, indexStart uint64
	for at := int64(fileHeader); at+frameHeader <= size; {
		before := sum.Sum32() // a commit frame has the sum of what is before it
		var head [frameHeader]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return found, ended(err)
		}
		length := binary.LittleEndian.Uint32(head[4:])
		at += frameHeader
		switch head[0] {
		case segment.FrameCommit:
			if length != before {
				return found, nil
			}
			found.last, found.end, found.indexStart = found.last+entries, at, indexStart
			if indexStart > 0 {
				return found, nil
			}
			sum.Reset()
			entries = 0
			continue
		case segment.FrameEntry:
			entries++
		case segment.FrameIndex:
			indexStart = uint64(at)
		default:
			return found, nil
		}
		padded := (int64(length) + 7) &^ 7
		if padded > size-at {
			return found, nil
		}
		if _, err := io.CopyN(io.Discard, in, padded); err != nil {
			return found, ended(err)
		}
		at += padded
	}
	return found, nil
}

// ended turns the end of the file into the end of what there is.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// leftBehind looks at what a segment has behind the last whole batch, whose last
// entry is last: where that ends, and which index the log had reached by what
// whole entries there say. An entry at some position of its batch was written
// when everything before the batch was on disk.
func leftBehind(f *os.File, from, size int64, last uint64) (end int64, reached uint64, err error) {
	end = from
	block, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for base := from; base < size; base += int64(len(block)) {
		n, err := f.ReadAt(block, base)
		if ended(err) != nil {
			return end, reached, err
		}
		if bytes.Equal(block[:n], zeros[:n]) {
			continue
		}
		for i := 0; i+frameHeader <= n; i += frameHeader {
			head := block[i : i+frameHeader]
			if bytes.Equal(head, zeros[:frameHeader]) {
				continue
			}
			at := base + int64(i) + frameHeader
			end = at
			length := int64(binary.LittleEndian.Uint32(head[4:]))
			if head[0] != segment.FrameEntry || length > min(maxSought, size-at) {
				continue
			}
			if before, ok := soughtEntry(f, at, length, last); ok {
				reached = max(reached, before)
			}
		}
	}
	return end, reached, nil
}

// soughtEntry decodes what may be an entry behind last, and returns what the log
// had reached before its batch was written.
func soughtEntry(f *os.File, at, length int64, last uint64) (before uint64, ok bool) {
	data := make([]byte, length)
	head := data[:min(length, binary.MaxVarintLen64)]
	if _, err := f.ReadAt(head, at); err != nil {
		return 0, false
	}
	if index, n := binary.Uvarint(head); n <= 0 || index <= last+1 {
		return 0, false
	}
	if _, err := f.ReadAt(data, at); err != nil {
		return 0, false
	}
	var entry raft.Log
	if decode(data, &entry) != nil {
		return 0, false
	}
	position, err := unseal(&entry)
	if err != nil || entry.Index <= uint64(position) {
		return 0, false
	}
	return entry.Index - uint64(position) - 1, true
}

func decode(data []byte, entry *raft.Log) (err error) {
	defer caught(&err)
	return (&wal.BinaryCodec{}).Decode(data, entry)
}
