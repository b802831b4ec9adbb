package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"os"
	"runtime/debug"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// lockWait is how long an open waits for another process to let go.
const lockWait = time.Second

func openBolt(path string) (*raftboltdb.BoltStore, error) {
	if _, err := os.Stat(path); err == nil {
		if err := check(path); err != nil {
			return nil, err
		}
	}
	// The first thing this does is a transaction, so that what a process that was
	// killed had not synced yet is on disk before anything is built on it.
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
	if err := checkMeta(path); err != nil {
		return err
	}
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: lockWait, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.View(walk)
}

// Bolt's two meta pages: a page header, then in the byte order of the machine
// magic, version, page size, flags, root, freelist, high water mark, transaction
// and the checksum of all that. They take turns, so one is a transaction behind.
const (
	boltPageHeader = 16
	boltPageSize   = 8  // position of the page size in the meta
	boltMetaSum    = 56 // position of the checksum, and the length that it covers
	boltMetaSize   = 64
	boltMagic      = 0xED0CDAED
)

// checkMeta wants both meta pages to be valid. Bolt is content with one, and
// would silently go back by a transaction: the last vote, the last entries.
func checkMeta(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		// Bolt would take it for a new one.
		return errors.New("the file is damaged: it is empty")
	}
	at := int64(0)
	for i := range 2 {
		meta := make([]byte, boltMetaSize)
		if _, err := f.ReadAt(meta, at+boltPageHeader); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		sum := fnv.New64a()
		sum.Write(meta[:boltMetaSum])
		if binary.NativeEndian.Uint32(meta) != boltMagic || binary.NativeEndian.Uint64(meta[boltMetaSum:]) != sum.Sum64() {
			return fmt.Errorf("the file is damaged: meta page %d is invalid", i)
		}
		at = int64(binary.NativeEndian.Uint32(meta[boltPageSize:]))
	}
	return nil
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
