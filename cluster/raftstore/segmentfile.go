package raftstore

import (
	"os"

	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
)

// zeroAhead is how much of a segment is written before entries come there.
const zeroAhead = 256 << 10

// vfs makes and opens segment files whose syncs write data only. The space that
// raft-wal reserves has no content yet, so the first write to each part of it
// changes what the file system keeps about the file: each sync would have to
// wait for its journal too, and with that for whatever else is in there, such as
// a snapshot. So parts are filled with zeros, which mean nothing to raft-wal, a
// good while before entries come there.
type vfs struct{ *fs.FS }

// Create implements types.VFS.
func (v vfs) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := v.FS.Create(dir, name, size)
	if err != nil {
		return nil, err
	}
	made := f.(*fs.File)
	s := &segmentFile{WritableFile: made, file: &made.File, size: int64(size)}
	if err := s.file.Chmod(0o600); err != nil {
		return nil, err
	}
	return s, nil
}

// OpenWriter implements types.VFS.
func (v vfs) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := v.FS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	s := &segmentFile{WritableFile: f, file: f.(*os.File)}
	stat, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	s.size = stat.Size()
	return s, nil
}

// segmentFile is a segment that is written to, by one goroutine.
type segmentFile struct {
	types.WritableFile
	file   *os.File // the same
	size   int64
	zeroed int64 // up to here the file has content
	synced bool  // with its name
}

// WriteAt implements io.WriterAt. Nothing that counts is behind what is written.
func (s *segmentFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := s.WritableFile.WriteAt(p, at)
	end := at + int64(len(p))
	if err != nil || end <= s.zeroed {
		return n, err
	}
	s.zeroed = end
	if ahead := min(zeroAhead, s.size-end); ahead > 0 {
		if _, err := s.WritableFile.WriteAt(make([]byte, ahead), end); err != nil {
			return n, err
		}
		s.zeroed += ahead
	}
	return n, nil
}

// Sync waits until everything that was written is on disk.
func (s *segmentFile) Sync() error {
	if s.synced {
		return syncData(s.file)
	}
	err := s.WritableFile.Sync() // of a new file, with its directory
	s.synced = err == nil
	return err
}

var (
	_ types.VFS          = vfs{}
	_ types.WritableFile = (*segmentFile)(nil)
)
