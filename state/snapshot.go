package state

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// A snapshot is
//
//	magic, format version (one byte)
//	a zstd stream of frames
//	SHA-256 of all bytes before it
//
// and a frame is its kind (one byte), the length of its content (uvarint) and
// the content. For each table, in the order of tables.inOrder, there is a
// frameTable with its name and a frameRow for each row in key order; a frameEnd
// with the number of rows of each table closes the stream. Equal states have
// equal snapshots, byte for byte, when made by the same build.

const (
	magic         = "waypoint snapshot\n"
	formatVersion = 1
	sumSize       = 32 // SHA-256
)

const (
	frameTable byte = 1 // content: table name
	frameRow   byte = 2 // content: a row of the newest frameTable
	frameEnd   byte = 3 // content: commandpb.SnapshotEnd
)

// maxFrame bounds what a damaged length can make Restore allocate. It is far
// above the largest row, which came through a Raft entry.
const maxFrame = 64 << 20

// ErrSnapshot is wrapped by every error of Restore that says that the bytes
// are not a whole and undamaged snapshot that this build understands.
var ErrSnapshot = errors.New("not a usable snapshot")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrSnapshot, fmt.Errorf(format, args...))
}

// deterministic is how rows are written: equal messages to equal bytes.
func deterministic() proto.MarshalOptions {
	return proto.MarshalOptions{Deterministic: true}
}
