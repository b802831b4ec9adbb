package cluster

import (
	"context"
	"errors"
	"slices"

	"github.com/hashicorp/go-hclog"

	"waypoint/cluster/datadir"
	"waypoint/cluster/raftstore"
	"waypoint/errs"
)

// MigratedLog is what MigrateLog did. From and To are the same if the log was
// there already.
type MigratedLog struct {
	From, To string
	Entries  uint64
}

// MigrateLog moves the Raft log of the node in dataDir, which must not run, to
// another of LogStores. progress is called now and then with the number of
// entries that are copied, and of all. If it fails or is stopped, even by a
// crash, the node has its log where it was or where it should be.
func MigrateLog(ctx context.Context, dataDir, to string, progress func(done, entries uint64), logger hclog.Logger) (*MigratedLog, error) {
	if !slices.Contains(LogStores(), to) {
		return nil, errs.New(errs.Invalid, "log store %q: it must be one of %q", to, LogStores())
	}
	dir, err := datadir.Open(dataDir)
	if errs.Is(err, errs.Conflict) {
		return nil, errs.New(errs.Conflict, "%w: stop the node first", err)
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if _, err := dir.Load(); err != nil {
		return nil, err
	}
	guard := raftstore.NewGuard(LAN().Disk, func(err error) { logger.Error("the disk fails", "error", err) })
	m, err := raftstore.Migrate(ctx, dir.Raft(), to, raftstore.MigrateOptions{
		Options: raftstore.Options{Guard: guard, Logger: logger}, Progress: progress,
	})
	switch {
	case errors.Is(err, context.Canceled):
		return nil, errs.New(errs.Unavailable, "stopped; the log is still kept in %q: %w", m.From, err)
	case err != nil:
		return nil, refusedLog(dir, err)
	}
	return &MigratedLog{From: m.From, To: m.To, Entries: m.Entries()}, nil
}
