package state

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"waypoint/api/commandpb"
)

// Snapshot is the state as it was at one moment, to be written out while the
// store goes on. It holds nothing that must be released.
type Snapshot struct {
	tx *Tx
}

// Snapshot returns the state as it is now, between two entries.
func (s *Store) Snapshot() *Snapshot {
	tx := s.Read()
	tx.reader.requests = tx.reader.requests.freeze()
	return &Snapshot{tx: tx}
}

// Index returns the epoch and index that the snapshot is of.
func (s *Snapshot) Index() (epoch string, index uint64) {
	m := s.tx.Meta()
	return m.Epoch, m.Index
}

// WriteTo writes the snapshot and returns the number of bytes written. It
// streams: nothing but single rows is held in memory.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	out := &summed{w: w, sum: sha256.New()}
	if err := s.write(out); err != nil {
		return out.n, fmt.Errorf("write snapshot: %w", err)
	}
	return out.n, nil
}

func (s *Snapshot) write(out *summed) error {
	if _, err := io.WriteString(out, magic+string([]byte{formatVersion})); err != nil {
		return err
	}
	// One goroutine: what it makes of the same input is always the same.
	packed, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return err
	}
	defer packed.Close()
	buffered := bufio.NewWriter(packed)
	if err := s.writeTables(&frameWriter{w: buffered}); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if err := packed.Close(); err != nil {
		return err
	}
	_, err = out.Write(out.sum.Sum(nil))
	return err
}

func (s *Snapshot) writeTables(out *frameWriter) error {
	end := &commandpb.SnapshotEnd{}
	for _, table := range s.tx.tables.inOrder() {
		if err := out.frame(frameTable, []byte(table.tableName())); err != nil {
			return err
		}
		count := &commandpb.TableRows{Table: table.tableName()}
		for row := range table.every(s.tx.reader) {
			data, err := deterministic().MarshalAppend(out.scratch[:0], row)
			if err != nil {
				return fmt.Errorf("encode row of %s: %w", table.tableName(), err)
			}
			out.scratch = data
			if err := out.frame(frameRow, data); err != nil {
				return err
			}
			count.Rows++
		}
		end.Tables = append(end.Tables, count)
	}
	data, err := deterministic().Marshal(end)
	if err != nil {
		return fmt.Errorf("encode end: %w", err)
	}
	return out.frame(frameEnd, data)
}

// frameWriter writes frames. Its scratch is reused for the rows.
type frameWriter struct {
	w       *bufio.Writer
	scratch []byte
}

func (f *frameWriter) frame(kind byte, content []byte) error {
	head := binary.AppendUvarint([]byte{kind}, uint64(len(content)))
	if _, err := f.w.Write(head); err != nil {
		return err
	}
	_, err := f.w.Write(content)
	return err
}

// summed counts and sums what is written through it.
type summed struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

// Write passes p on.
func (s *summed) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.n += int64(n)
	s.sum.Write(p[:n]) // a hash never fails
	return n, err
}
