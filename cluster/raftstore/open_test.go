package raftstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

func open(t *testing.T, dir string, create bool) (*Stores, error) {
	t.Helper()
	return Open(dir, create, guard(t), hclog.NewNullLogger())
}

// written makes a store with some entries and closes it.
func written(t *testing.T) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	s, err := open(t, dir, true)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 50; i++ {
		entry := &raft.Log{Index: i, Term: 1, Data: []byte(strings.Repeat(fmt.Sprint(i), 100))}
		if err := s.Log.StoreLog(entry); err != nil {
			t.Fatal(err)
		}
	}
	vote(t, s.Stable, 1, "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(dir, "raft.db")
}

func TestStoresComeBack(t *testing.T) {
	dir, _ := written(t)
	s, err := open(t, dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	checkVote(t, s.Stable, 1, "a")
	if last, err := s.Log.LastIndex(); last != 50 || err != nil {
		t.Errorf("last index %d, %v", last, err)
	}
}

func TestDamagedLogIsRefusedAndLeftAlone(t *testing.T) {
	for name, damage := range map[string]func(data []byte) []byte{
		"missing":     func([]byte) []byte { return nil },
		"empty":       func([]byte) []byte { return []byte{} },
		"not a log":   func(d []byte) []byte { return []byte(strings.Repeat("no", len(d)/2)) },
		"cut":         func(d []byte) []byte { return d[:len(d)/3] },
		"cut to meta": func(d []byte) []byte { return d[:8192] },
		"zeroed middle": func(d []byte) []byte {
			for i := len(d) / 4; i < len(d)/2; i++ {
				d[i] = 0
			}
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := written(t)
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			data = damage(data)
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if data != nil {
				if err := os.WriteFile(file, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, err := open(t, dir, false)
			if err == nil {
				s.Close()
				t.Fatal("the damaged log was opened")
			}
			if !strings.Contains(err.Error(), file) {
				t.Errorf("the error does not name the file: %v", err)
			}
			after, _ := os.ReadFile(file)
			if len(data) > 0 && string(after) != string(data) {
				t.Error("the damaged file was changed")
			}
		})
	}
}
