package raftstore

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestChangedTermOrVoteIsDamaged(t *testing.T) {
	d := newDisk()
	s := stableOf(t, d)
	vote(t, s, 7, "candidate")
	if err := s.SetUint64([]byte(keyTerm), 8); err != nil {
		t.Fatal(err)
	}
	again := stableOf(t, d)
	checkVote(t, again, 7, "candidate")
	if again.Term() != 8 {
		t.Errorf("the term is %d", again.Term())
	}
	if _, err := again.Get([]byte("other")); !absent(err) {
		t.Errorf("absent key: %v", err)
	}
	for key, val := range d.values {
		for i := range val {
			val[i] ^= 1
			if _, err := NewStable(small{d}, guard(t)); !errors.Is(err, errDamaged) {
				t.Errorf("%s with another byte %d: %v", key, i, err)
			}
			val[i] ^= 1
		}
	}
	d.values[keyVote], d.values[keyTerm] = d.values[keyTerm], d.values[keyVote]
	if _, err := NewStable(small{d}, guard(t)); !errors.Is(err, errDamaged) {
		t.Errorf("swapped: %v", err)
	}
}

func stableOf(t *testing.T, d *disk) *Stable {
	t.Helper()
	s, err := NewStable(small{d}, guard(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFlippedVoteIsRefusedAtTheStart(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := t.TempDir()
		s := created(t, dir, kind)
		vote(t, s.Stable, 3, "the-candidate")
		closed(t, s)
		file := filepath.Join(dir, fileBolt)
		flip(t, file, "the-candidate")
		if s, err := open(t, dir); err == nil {
			s.Close()
			t.Fatal("a damaged vote was taken")
		} else if !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), keyVote) {
			t.Error(err)
		}
	})
}
