package cluster

import (
	"errors"
	"syscall"

	"waypoint/cluster/datadir"
	"waypoint/cluster/raftstore"
	"waypoint/errs"
)

// LogStores lists what a node's Raft log can be kept in, the default of a new
// node first.
func LogStores() []string { return raftstore.Kinds() }

// refusedLog says what to do about Raft's files, which could not be opened. They
// are never to be restored from a copy: that would have forgotten votes and
// entries that count on this node.
func refusedLog(dir *datadir.Dir, err error) error {
	var other *raftstore.OtherKindError
	if errors.As(err, &other) {
		return errs.New(errs.Conflict,
			"data directory %s: %w; leave -log-store out, or move the log with this node stopped: waypoint server migrate-log -data-dir=%s -to=%s",
			dir.Path(), err, dir.Path(), other.Asked)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errs.New(errs.Unavailable, "%s needs more room: %w; nothing is lost: make room and start again", dir.Raft(), err)
	}
	return errs.New(errs.Internal,
		"%s is missing or damaged: %w; nothing was changed: replace this node (waypoint operator raft remove-peer, then join again with an empty data directory), and do not restore %s from a copy",
		dir.Raft(), err, dir.Raft())
}
