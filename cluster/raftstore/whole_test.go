package raftstore

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// took puts a snapshot of everything up to index into the stores, as one that
// the leader sent.
func took(t *testing.T, s *Stores, index uint64) {
	t.Helper()
	_, trans := raft.NewInmemTransport("a")
	sink, err := s.Snapshots.Create(1, index, 1, raft.Configuration{}, 0, trans)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write([]byte("state")); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
}

func add(t *testing.T, s *Stores, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := s.Log.StoreLog(entry(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func drop(t *testing.T, s *Stores, from, to uint64) {
	t.Helper()
	if err := s.Log.DeleteRange(from, to); err != nil {
		t.Fatal(err)
	}
}

func damageSnapshot(t *testing.T, dir, index string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "snapshots", "1-"+index+"-*", "state.bin"))
	if err != nil || len(files) != 1 {
		t.Fatalf("no snapshot in %s: %v", dir, err)
	}
	if err := os.WriteFile(files[0], []byte("stale"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// meeting is a case of TestLogAndSnapshotMustMeet: what is done to a log of 50
// entries, and what the error then has; nothing if the log opens.
type meeting struct {
	make func(t *testing.T, dir string, s *Stores)
	want string
}

func meetings() map[string]meeting {
	return map[string]meeting{
		"crash after a snapshot was taken": {func(t *testing.T, _ string, s *Stores) { took(t, s, 100) }, ""},
		"and entries since then": {func(t *testing.T, _ string, s *Stores) {
			took(t, s, 100)
			drop(t, s, 1, 50)
			add(t, s, 101, 105)
		}, ""},
		"snapshots are gone": {func(t *testing.T, dir string, s *Stores) {
			took(t, s, 40)
			drop(t, s, 1, 30)
			if err := os.RemoveAll(filepath.Join(dir, "snapshots")); err != nil {
				t.Fatal(err)
			}
		}, "begins at 31"},
		"damaged snapshot, older one and log will do": {func(t *testing.T, dir string, s *Stores) {
			took(t, s, 20)
			took(t, s, 40)
			damageSnapshot(t, dir, "40")
		}, ""},
		"damaged snapshot of what the log lacks": {func(t *testing.T, dir string, s *Stores) {
			took(t, s, 20)
			took(t, s, 100)
			damageSnapshot(t, dir, "100")
		}, "snapshot of entry 100 is damaged"},
		"gap between snapshot and log": {func(t *testing.T, _ string, s *Stores) {
			took(t, s, 100)
			drop(t, s, 1, 50)
			add(t, s, 102, 105)
		}, "begins at 102"},
	}
}

// holes can only be made where the store has nothing against them.
func holes() map[string]meeting {
	return map[string]meeting{
		"hole behind the snapshot": {func(t *testing.T, _ string, s *Stores) {
			took(t, s, 100)
			add(t, s, 101, 101)
			add(t, s, 103, 105)
		}, "entry 102"},
		"hole without a snapshot": {func(t *testing.T, _ string, s *Stores) { add(t, s, 60, 61) }, "entry 51"},
	}
}

func TestLogAndSnapshotMustMeet(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		cases := meetings()
		if kind == Bolt {
			maps.Copy(cases, holes())
		}
		for name, tt := range cases {
			t.Run(name, func(t *testing.T) {
				dir := written(t, kind)
				s := opened(t, dir)
				tt.make(t, dir, s)
				closed(t, s)
				s, err := open(t, dir)
				if err == nil {
					s.Close()
				}
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			})
		}
	})
}

func TestLogIsEmptiedByASnapshot(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		s := opened(t, written(t, kind))
		defer s.Close()
		if m, ok := s.Log.(raft.MonotonicLogStore); !ok || !m.IsMonotonic() {
			t.Error("Raft would keep entries of before a snapshot that is ahead of them")
		}
	})
}
