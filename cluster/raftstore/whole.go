package raftstore

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// whole reads the log once, so that a hole or an entry that is not what was
// written is found before this node takes part in the cluster, not in the middle
// of it.
//
// Behind the snapshot that Raft will start from, the log must be without a hole;
// before it, nothing is needed any more, and a node that crashed right after it
// took the leader's snapshot still has what it had before.
func whole(logs raft.LogStore, snapshots raft.SnapshotStore) error {
	first, err := logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return err
	}
	base, newest, err := bases(snapshots)
	switch {
	case err != nil:
		return err
	case base < newest && last < newest:
		return fmt.Errorf("the snapshot of entry %d is damaged, and the log ends at %d", newest, last)
	case last > base && first > base+1:
		return fmt.Errorf("a file is damaged or a snapshot is missing: the log begins at %d, the newest usable snapshot is of %d", first, base)
	}
	for i := first; i <= last && i > 0; i++ {
		var entry raft.Log
		err := logs.GetLog(i, &entry)
		switch {
		case errors.Is(err, raft.ErrLogNotFound) && i <= base:
			i = base // nothing between here and there is needed
		case errors.Is(err, raft.ErrLogNotFound):
			return fmt.Errorf("entry %d of %d to %d is missing", i, first, last)
		case err != nil:
			return err
		}
	}
	return nil
}

// bases returns the index of the snapshot that Raft will start from, which is
// the newest that is not damaged, and the index of the newest; 0 if there is
// none.
func bases(snapshots raft.SnapshotStore) (base, newest uint64, err error) {
	list, err := snapshots.List()
	if err != nil {
		return 0, 0, fmt.Errorf("list snapshots: %w", err)
	}
	var damaged []error
	for _, meta := range list {
		newest = max(newest, meta.Index)
		_, data, err := snapshots.Open(meta.ID) // this checks its sum
		if err != nil {
			damaged = append(damaged, fmt.Errorf("open snapshot %s: %w", meta.ID, err))
			continue
		}
		if err := data.Close(); err != nil {
			return 0, 0, fmt.Errorf("close snapshot %s: %w", meta.ID, err)
		}
		return meta.Index, newest, nil
	}
	return 0, newest, errors.Join(damaged...)
}
