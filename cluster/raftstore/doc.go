// Package raftstore is for Raft's stores: it opens them and wraps them so that
// a disk that fails or hangs ends the process, a vote is written in one piece,
// damage is found, and the newest command at or below an index can be found. It
// must not know what the log entries mean.
//
// In a node's directory raft.db (raft-boltdb) holds term and vote. It also holds
// the log, or the folder wal does (raft-wal, files of 16 MiB); raft.db says
// which, and then has the list of wal's files. The kind is chosen when the
// stores are made and changed by Migrate alone.
//
// # What is detected
//
// Every entry is stored with a CRC-32C of its index, term, type, data and
// extensions. All of them are verified when the log is opened, and each again
// when it is read from disk later. So wrong bytes in an entry, and an entry in
// the place of another, are refused when the node starts and fatal while it
// runs. There are no entries without a checksum.
//
// A hole in the log, or between the newest usable snapshot and the log, is
// refused.
//
// raft.db: a key or a page out of place, a file that was cut or emptied, and an
// invalid meta page (bolt would go back to the one before it, and forget the
// newest vote or entries) are refused. So are a term, a vote and a list of wal's
// files that are not what was written: they have checksums too.
//
// wal: a missing file, and a newest file that is shorter than it was made, are
// refused. In the newest file, a batch that is not whole may be the one that was
// being written when the process ended; it is then removed. It is refused as
// damage if the log is known to have gone on behind it:
//
//   - An entry in a later batch is still there: each says, under its checksum,
//     which position it has in its batch, and everything before a batch was on
//     disk when the batch was written.
//   - raft.db says that the log had reached a higher index. It is told so when
//     the log is opened and closed, with the first entries of each file, when a
//     file is full, when the log is cut at either end, and after every 4096
//     entries.
//
// # What is not detected
//
// wal: the loss of the last batch alone, or of the last batches if not one whole
// entry of a later batch is left of them, back to the index in raft.db. Such
// damage is what a write that was not finished looks like. bolt: that the disk
// lost a whole transaction, all of its pages. Both: wrong bytes in the name under
// which raft.db has a term or a vote, and files that were all replaced by older
// ones.
package raftstore
