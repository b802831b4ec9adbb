package state

import (
	"time"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
)

// Entry is what one log entry makes of the state: readers see all of it or
// nothing, together with its index. Only package fsm makes one.
type Entry struct {
	store *Store
	tx    *Tx
}

// Begin starts an entry. It must be ended by Commit or Abort before the next
// one begins.
func (s *Store) Begin() *Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &Entry{
		store: s,
		tx:    newTx(&reader{tables: s.tables, txn: s.db.Txn(true), requests: s.requests, abandon: s.abandon}),
	}
}

// Command starts the transaction of the entry's next command, which sees what
// the earlier ones did.
func (e *Entry) Command() *WriteTx {
	return &WriteTx{Tx: e.tx, txn: e.tx.reader.txn}
}

// Commit records the entry's index and time in the state, shows the new state
// to readers, wakes who watched what changed, and lets those go on who wait
// for the index.
func (e *Entry) Commit(index uint64, at time.Time) {
	meta := proto.CloneOf(e.tx.metaRow())
	meta.Index = index
	meta.Time = at.UnixNano()
	Put(e.Command(), meta)

	// Who sees the changes must not be told an index from before them.
	e.store.mu.Lock()
	defer e.store.mu.Unlock()
	e.tx.reader.txn.Commit()
	e.store.move(metaOf(meta))
}

// Abort drops the entry. After Commit it does nothing.
func (e *Entry) Abort() { e.tx.reader.txn.Abort() }

// WriteTx is the transaction of one command: all of its changes stay in the
// entry or, after Abort, none. Its queries see its own changes.
//
// Rows that are put belong to the state from then on. A list must be collected
// before the rows that it yields are changed or removed.
type WriteTx struct {
	*Tx
	txn     *memdb.Txn
	changes []change
}

// change is a row that was put or deleted.
type change struct {
	table    string
	old, new proto.Message // nil: there was none, there is none
}

// Commit keeps the changes.
func (w *WriteTx) Commit() { w.changes = nil }

// Abort undoes the changes. After Commit it does nothing.
func (w *WriteTx) Abort() {
	for i := len(w.changes) - 1; i >= 0; i-- {
		c := w.changes[i]
		if c.old != nil {
			check(c.table, w.txn.Insert(c.table, c.old))
		} else {
			check(c.table, w.txn.Delete(c.table, c.new))
		}
	}
	w.changes = nil
}

// Put inserts a row or replaces the one with the same key.
func Put[M Row](w *WriteTx, row M) {
	table := w.reader.tables.of(row)
	old := table.same(w.reader, row)
	check(table.tableName(), w.txn.Insert(table.tableName(), row))
	w.changes = append(w.changes, change{table: table.tableName(), old: old, new: row})
}

// Delete removes the row with the same key, which must be there.
func Delete[M Row](w *WriteTx, row M) {
	table := w.reader.tables.of(row)
	old := table.same(w.reader, row)
	check(table.tableName(), w.txn.Delete(table.tableName(), row))
	w.changes = append(w.changes, change{table: table.tableName(), old: old})
}
