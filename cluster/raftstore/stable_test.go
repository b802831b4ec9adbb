package raftstore

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// disk is a stable store in memory that counts its writes.
type disk struct {
	values  map[string][]byte
	numbers map[string]uint64
	writes  []string
	err     error
}

func newDisk() *disk {
	return &disk{values: map[string][]byte{}, numbers: map[string]uint64{}}
}

func (d *disk) Set(key, val []byte) error {
	d.writes = append(d.writes, string(key))
	d.values[string(key)] = append([]byte(nil), val...)
	return d.err
}

func (d *disk) SetUint64(key []byte, n uint64) error {
	d.writes = append(d.writes, string(key))
	d.numbers[string(key)] = n
	return d.err
}

func (d *disk) Get(key []byte) ([]byte, error) {
	if v, ok := d.values[string(key)]; ok {
		return v, nil
	}
	return nil, errAbsent
}

func (d *disk) GetUint64(key []byte) (uint64, error) {
	if n, ok := d.numbers[string(key)]; ok {
		return n, nil
	}
	return 0, errAbsent
}

var _ raft.StableStore = (*disk)(nil)

func guard(t *testing.T) *Guard {
	return NewGuard(time.Minute, func(err error) { t.Errorf("fatal: %v", err) })
}

func stable(t *testing.T, d *disk) *Stable {
	t.Helper()
	s, err := NewStable(d, guard(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func vote(t *testing.T, s *Stable, term uint64, cand string) {
	t.Helper()
	if err := errors.Join(s.SetUint64([]byte(keyVoteTerm), term), s.Set([]byte(keyVoteCand), []byte(cand))); err != nil {
		t.Fatal(err)
	}
}

func checkVote(t *testing.T, s *Stable, term uint64, cand string) {
	t.Helper()
	gotTerm, err := s.GetUint64([]byte(keyVoteTerm))
	if err != nil {
		t.Fatal(err)
	}
	gotCand, err := s.Get([]byte(keyVoteCand))
	if err != nil {
		t.Fatal(err)
	}
	if gotTerm != term || string(gotCand) != cand {
		t.Errorf("vote is (%d, %s), want (%d, %s)", gotTerm, gotCand, term, cand)
	}
}

func TestVoteIsOneWrite(t *testing.T) {
	d := newDisk()
	vote(t, stable(t, d), 7, "b")
	if len(d.writes) != 1 {
		t.Errorf("a vote was written as %q", d.writes)
	}
	checkVote(t, stable(t, d), 7, "b")
}

func TestHalfAVoteIsNoVote(t *testing.T) {
	d := newDisk()
	s := stable(t, d)
	vote(t, s, 7, "b")
	if err := s.SetUint64([]byte(keyVoteTerm), 8); err != nil {
		t.Fatal(err)
	}
	checkVote(t, s, 7, "b")
	checkVote(t, stable(t, d), 7, "b") // as after a crash
}

func TestVoteOfPlainRaftIsRead(t *testing.T) {
	d := newDisk()
	d.numbers[keyVoteTerm], d.values[keyVoteCand], d.numbers[keyTerm] = 3, []byte("a"), 4
	s := stable(t, d)
	checkVote(t, s, 3, "a")
	if s.Term() != 4 {
		t.Errorf("term is %d, want 4", s.Term())
	}
	vote(t, s, 5, "c")
	checkVote(t, stable(t, d), 5, "c")
}

func TestAbsentVoteIsReportedAsRaftExpects(t *testing.T) {
	s := stable(t, newDisk())
	if _, err := s.GetUint64([]byte(keyVoteTerm)); err == nil || err.Error() != "not found" {
		t.Errorf("vote term: %v", err)
	}
	if _, err := s.Get([]byte(keyVoteCand)); err == nil || err.Error() != "not found" {
		t.Errorf("candidate: %v", err)
	}
}

func TestTermNeverFalls(t *testing.T) {
	s := stable(t, newDisk())
	if err := s.SetUint64([]byte(keyTerm), 5); err != nil {
		t.Fatal(err)
	}
	if err := s.SetUint64([]byte(keyTerm), 4); err == nil {
		t.Error("term 4 was stored after term 5")
	}
}

func TestHeldTermWaitsWithTheNextOne(t *testing.T) {
	s := stable(t, newDisk())
	if err := s.SetUint64([]byte(keyTerm), 5); err != nil {
		t.Fatal(err)
	}
	moved := make(chan error, 1)
	held := s.HoldTerm(5, func() bool {
		go func() { moved <- s.SetUint64([]byte(keyTerm), 6) }()
		// The same term may be stored by whoever holds it.
		if err := s.SetUint64([]byte(keyTerm), 5); err != nil {
			t.Error(err)
		}
		select {
		case <-moved:
			t.Error("the term moved while it was held")
		case <-time.After(20 * time.Millisecond):
		}
		return s.Term() == 5
	})
	if !held {
		t.Error("the term was not held")
	}
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	if s.HoldTerm(5, func() bool { t.Error("called in another term"); return true }) {
		t.Error("an old term was held")
	}
}

func TestFailedReadIsNotAnAbsentVote(t *testing.T) {
	if _, err := NewStable(broken{newDisk()}, guard(t)); err == nil {
		t.Error("a store that cannot be read was taken for an empty one")
	}
}

type broken struct{ *disk }

func (broken) GetUint64([]byte) (uint64, error) { return 0, errors.New("input/output error") }
