package state

import (
	"context"
	"sync"

	"github.com/hashicorp/go-memdb"
)

// Store is a node's copy of the replicated state. Any goroutine may read; one
// goroutine at a time, Raft's, writes and restores.
type Store struct {
	tables *tables

	mu       sync.RWMutex
	db       *memdb.MemDB
	requests *requestLog
	abandon  chan struct{} // closed when db is replaced
	at       Meta          // what db knows about itself
	moved    chan struct{} // closed when at changes
}

// New returns an empty store.
func New() *Store {
	t := newTables()
	return &Store{
		tables:   t,
		db:       t.newDB(),
		requests: newRequestLog(),
		abandon:  make(chan struct{}),
		moved:    make(chan struct{}),
	}
}

// Read returns a view of the state as it is now. It holds nothing that must be
// released.
func (s *Store) Read() *Tx {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return newTx(&reader{tables: s.tables, txn: s.db.Txn(false), requests: s.requests, abandon: s.abandon})
}

// Meta returns what Read().Meta() does, for less.
func (s *Store) Meta() Meta {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.at
}

// Index returns the epoch and the index of the newest entry that was applied
// as a whole.
func (s *Store) Index() (epoch string, index uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.at.Epoch, s.at.Index
}

// WaitIndex returns nil when the state has reached the index, and the
// context's error if that ends first. Indexes of different epochs do not
// compare: it returns nil at once if the state is of another epoch. A state
// that has no epoch yet belongs to a node that has just started or joined, and
// waits.
func (s *Store) WaitIndex(ctx context.Context, epoch string, index uint64) error {
	for {
		s.mu.RLock()
		at, moved := s.at, s.moved
		s.mu.RUnlock()
		if at.Index >= index || (at.Epoch != "" && at.Epoch != epoch) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// move records how far the state has come and wakes who waits for it. The caller
// holds mu.
func (s *Store) move(to Meta) {
	s.at = to
	close(s.moved)
	s.moved = make(chan struct{})
}
