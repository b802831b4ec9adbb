package raftstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"waypoint/internal/atomicfile"
)

const (
	// fileNew becomes fileBolt when everything that it refers to is on disk.
	fileNew = "raft.db.new"
	// batchBytes bounds what is copied at a time.
	batchBytes = 4 << 20
)

// Migration is what Migrate did. From and To are the same if the log was there
// already.
type Migration struct {
	From, To    string
	First, Last uint64 // of the entries; 0 if there are none
}

// Entries is the number of entries in the log.
func (m Migration) Entries() uint64 { return count(m.First, m.Last) }

// MigrateOptions say how to migrate.
type MigrateOptions struct {
	Options                             // of the log as it is; only Guard and Logger count
	Progress func(done, entries uint64) // called now and then; may be nil

	// In tests:
	step  func() // called after everything that changes the disk
	batch int    // bytes that are copied at a time; 0: batchBytes
}

// Migrate moves the log of the stores in dir, which nobody has open, to a store
// of kind to. The log stays where it is until a whole copy of it has been read
// back and compared; then one rename makes the copy the log, and the old one is
// removed: nobody may ever start with it again. After a stop at any point the
// stores open, with the old log or the new one, and Migrate may be called again.
func Migrate(ctx context.Context, dir, to string, opts MigrateOptions) (Migration, error) {
	if opts.step == nil {
		opts.step = func() {}
	}
	if opts.Progress == nil {
		opts.Progress = func(uint64, uint64) {}
	}
	opts.Options.Create, opts.Options.Kind = false, ""
	old, err := Open(dir, opts.Options)
	if err != nil {
		return Migration{}, err
	}
	m := Migration{From: old.Kind, To: to}
	m.First, m.Last, err = ends(old.sums)
	if err == nil {
		err = removeLeftovers(dir, old.Kind)
	}
	if err == nil && to != old.Kind {
		err = copyStores(ctx, dir, old, to, opts)
	}
	if err = errors.Join(err, old.Close()); err != nil || to == m.From {
		return m, err
	}
	opts.step()
	if err := os.Rename(filepath.Join(dir, fileNew), filepath.Join(dir, fileBolt)); err != nil {
		return m, err
	}
	opts.step()
	if err := atomicfile.SyncDir(dir); err != nil {
		return m, err
	}
	opts.step()
	return m, removeLeftovers(dir, to)
}

// removeLeftovers removes what belongs to no log that is in use.
func removeLeftovers(dir, kind string) error {
	if err := os.Remove(filepath.Join(dir, fileNew)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if kind == WAL {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, dirWAL))
}

// copyStores makes the stores that are to be used, except for the snapshots,
// which stay.
func copyStores(ctx context.Context, dir string, old *Stores, to string, opts MigrateOptions) error {
	path, segments := filepath.Join(dir, fileNew), filepath.Join(dir, dirWAL)
	opts.Options.Create, opts.Options.Kind = true, to
	made, err := openStores(path, segments, opts.Options)
	if err != nil {
		return err
	}
	opts.step()
	err = copyState(made, old)
	opts.step()
	if err == nil {
		err = copyLog(ctx, made.sums, old.sums, opts)
	}
	if err = errors.Join(err, made.Close()); err != nil {
		return err
	}
	opts.step()
	opts.Options.Create = false
	if made, err = openStores(path, segments, opts.Options); err != nil {
		return err
	}
	return errors.Join(compare(ctx, made, old), made.Close())
}

// stateKeys are the keys of term and vote, as Raft or Stable writes them.
func stateKeys() []string { return []string{keyTerm, keyVote, keyVoteTerm, keyVoteCand} }

func copyState(to, from *Stores) error {
	for _, key := range stateKeys() {
		val, err := value(from.bolt, key)
		if err == nil && val != nil {
			err = to.bolt.Set([]byte(key), val)
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", key, err)
		}
	}
	return nil
}

func copyLog(ctx context.Context, to, from *sums, opts MigrateOptions) error {
	first, last, err := ends(from)
	if err != nil {
		return err
	}
	var batch []*raft.Log
	size := 0
	for i := first; i <= last && i > 0; i++ {
		entry := &raft.Log{}
		if err := from.GetLog(i, entry); err != nil {
			return err
		}
		batch = append(batch, entry)
		size += len(entry.Data)
		if size < cmp.Or(opts.batch, batchBytes) && len(batch) < floorEvery && i < last {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := to.StoreLogs(batch); err != nil {
			return fmt.Errorf("copy entries up to %d: %w", i, err)
		}
		opts.step()
		opts.Progress(count(first, i), count(first, last))
		batch, size = nil, 0
	}
	return nil
}

// compare reads both logs again.
func compare(ctx context.Context, made, old *Stores) error {
	for _, key := range stateKeys() {
		want, err1 := value(old.bolt, key)
		got, err2 := value(made.bolt, key)
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("the copy of %s differs: %w", key, errors.Join(err, errDamaged))
		}
	}
	first, last, err1 := ends(old.sums)
	madeFirst, madeLast, err2 := ends(made.sums)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if first != madeFirst || last != madeLast {
		return fmt.Errorf("the copy has entries %d to %d instead of %d to %d", madeFirst, madeLast, first, last)
	}
	for i := first; i <= last && i > 0; i++ {
		var want, got raft.Log
		if err := errors.Join(ctx.Err(), old.sums.GetLog(i, &want), made.sums.GetLog(i, &got)); err != nil {
			return err
		}
		if got.Term != want.Term || got.Type != want.Type || !bytes.Equal(got.Data, want.Data) ||
			!bytes.Equal(got.Extensions, want.Extensions) || !got.AppendedAt.Equal(want.AppendedAt) {
			return fmt.Errorf("the copy of entry %d differs", i)
		}
	}
	return nil
}

func ends(logs raft.LogStore) (first, last uint64, err error) {
	first, err1 := logs.FirstIndex()
	last, err2 := logs.LastIndex()
	return first, last, errors.Join(err1, err2)
}

func count(first, last uint64) uint64 {
	if first == 0 {
		return 0
	}
	return last - first + 1
}
