package state

import (
	"time"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
)

// WriteTx changes the state: all of it or, after Abort, none. Its queries see
// its own changes. Only package fsm makes one.
//
// Rows that are put belong to the state from then on. A list must be collected
// before the rows that it yields are changed or removed.
type WriteTx struct {
	*Tx
	txn *memdb.Txn
}

// Begin starts the transaction of one command. It must be ended by Commit or
// Abort before the next one begins.
func (s *Store) Begin() *WriteTx {
	s.mu.RLock()
	defer s.mu.RUnlock()
	txn := s.db.Txn(true)
	return &WriteTx{Tx: newTx(&reader{tables: s.tables, txn: txn, abandon: s.abandon}), txn: txn}
}

// Commit makes the changes visible and wakes who watched what changed.
func (w *WriteTx) Commit() { w.txn.Commit() }

// Abort drops the changes. After Commit it does nothing.
func (w *WriteTx) Abort() { w.txn.Abort() }

// Put inserts a row or replaces the one with the same key.
func Put[M Row](w *WriteTx, row M) {
	name := w.reader.tables.of(row).tableName()
	check(name, w.txn.Insert(name, row))
}

// Delete removes the row with the same key, which must be there.
func Delete[M Row](w *WriteTx, row M) {
	name := w.reader.tables.of(row).tableName()
	check(name, w.txn.Delete(name, row))
}

// Advance ends an entry: it records the entry's index and time in the state
// and then lets those go on who wait for the index.
func (s *Store) Advance(index uint64, at time.Time) {
	w := s.Begin()
	defer w.Abort()
	meta := proto.CloneOf(w.metaRow())
	meta.Index = index
	meta.Time = at.UnixNano()
	Put(w, meta)
	w.Commit()

	s.mu.Lock()
	defer s.mu.Unlock()
	s.move(position{epoch: meta.Epoch, index: index})
}
