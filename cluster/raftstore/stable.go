package raftstore

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// The keys under which Raft keeps its term and vote, and our one for the vote.
const (
	keyTerm     = "CurrentTerm"
	keyVoteTerm = "LastVoteTerm"
	keyVoteCand = "LastVoteCand"
	keyVote     = "Vote" // 8 bytes of term, big endian, then the candidate
)

// Stable is a stable store that writes a vote as one value. Raft writes the
// vote's term and its candidate one after the other; a crash between the two
// would leave a vote that was never given.
//
// It is also the place where Raft's term can be held still (HoldTerm), because
// Raft writes each new term here before it acts on it.
type Stable struct {
	inner raft.StableStore
	guard *Guard

	// turn is held while a new term is written, and by HoldTerm.
	turn sync.Mutex

	mu       sync.Mutex
	term     uint64
	voteTerm uint64
	cand     []byte // nil: no vote is stored
	heldTerm uint64 // vote term whose candidate has not come yet
	held     bool
}

// NewStable reads what inner holds. Data written by Raft without this wrapper
// is understood.
func NewStable(inner raft.StableStore, guard *Guard) (*Stable, error) {
	s := &Stable{inner: inner, guard: guard}
	var err error
	if s.term, err = number(inner, keyTerm); err != nil {
		return nil, err
	}
	vote, err := value(inner, keyVote)
	switch {
	case err != nil:
		return nil, err
	case vote == nil:
		return s, s.readPlainVote()
	case len(vote) < 8:
		return nil, fmt.Errorf("read vote: %d bytes are too few", len(vote))
	}
	s.voteTerm, s.cand = binary.BigEndian.Uint64(vote), vote[8:]
	return s, nil
}

func (s *Stable) readPlainVote() (err error) {
	if s.voteTerm, err = number(s.inner, keyVoteTerm); err != nil {
		return err
	}
	s.cand, err = value(s.inner, keyVoteCand)
	return err
}

// number and value hide that Raft tells an absent key by the error's text; a
// failed read of a present key must not pass for an absent one.
func number(inner raft.StableStore, key string) (uint64, error) {
	n, err := inner.GetUint64([]byte(key))
	if err != nil && !absent(err) {
		return 0, fmt.Errorf("read %s: %w", key, err)
	}
	return n, nil
}

func value(inner raft.StableStore, key string) ([]byte, error) {
	v, err := inner.Get([]byte(key))
	if err != nil && !absent(err) {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return v, nil
}

// Set implements raft.StableStore. The candidate of a vote completes the vote.
func (s *Stable) Set(key, val []byte) error {
	if string(key) != keyVoteCand {
		return s.guard.Do("store "+string(key), func() error { return s.inner.Set(key, val) })
	}
	s.mu.Lock()
	term := s.voteTerm
	if s.held {
		term = s.heldTerm
	}
	s.mu.Unlock()
	vote := append(binary.BigEndian.AppendUint64(nil, term), val...)
	if err := s.guard.Do("store vote", func() error { return s.inner.Set([]byte(keyVote), vote) }); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.voteTerm, s.cand, s.held = term, vote[8:], false
	return nil
}

// SetUint64 implements raft.StableStore. A vote's term waits for its candidate.
func (s *Stable) SetUint64(key []byte, n uint64) error {
	switch string(key) {
	case keyVoteTerm:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.heldTerm, s.held = n, true
		return nil
	case keyTerm:
		return s.setTerm(n)
	}
	return s.guard.Do("store "+string(key), func() error { return s.inner.SetUint64(key, n) })
}

// setTerm writes a newer term. The same term again needs no write, and no lock
// either: a heartbeat that HoldTerm lets through may end here.
func (s *Stable) setTerm(n uint64) error {
	switch old := s.Term(); {
	case n == old:
		return nil
	case n < old:
		return fmt.Errorf("store term %d: the node is already in term %d", n, old)
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	err := s.guard.Do("store term", func() error { return s.inner.SetUint64([]byte(keyTerm), n) })
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.term = n
	return nil
}

// Term returns the term that is on disk.
func (s *Stable) Term() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.term
}

// HoldTerm calls fn if the stored term is term, and keeps Raft from moving to
// another while fn runs. It reports whether fn was called.
func (s *Stable) HoldTerm(term uint64, fn func() bool) bool {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.Term() == term && fn()
}

// Get implements raft.StableStore.
func (s *Stable) Get(key []byte) ([]byte, error) {
	if string(key) != keyVoteCand {
		return s.inner.Get(key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cand == nil {
		return nil, errAbsent
	}
	return append([]byte(nil), s.cand...), nil
}

// GetUint64 implements raft.StableStore.
func (s *Stable) GetUint64(key []byte) (uint64, error) {
	if string(key) != keyVoteTerm {
		return s.inner.GetUint64(key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cand == nil {
		return 0, errAbsent
	}
	return s.voteTerm, nil
}

var _ raft.StableStore = (*Stable)(nil)
