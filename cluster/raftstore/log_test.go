package raftstore

import (
	"testing"

	"github.com/hashicorp/raft"
)

func logs(t *testing.T, kinds ...raft.LogType) *raft.InmemStore {
	t.Helper()
	store := raft.NewInmemStore()
	for i, kind := range kinds {
		if err := store.StoreLog(&raft.Log{Index: uint64(i + 1), Term: 1, Type: kind}); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

func TestNewestCommandAtOrBelow(t *testing.T) {
	c := NewCommands(logs(t,
		raft.LogConfiguration, // 1
		raft.LogCommand,       // 2
		raft.LogNoop,          // 3
		raft.LogBarrier,       // 4
		raft.LogCommand,       // 5
		raft.LogConfiguration, // 6
	))
	for _, tt := range []struct{ upTo, want uint64 }{
		{0, 0}, {1, 0}, {2, 2}, {3, 2}, {4, 2}, {4, 2}, {5, 5}, {6, 5},
		{3, 2}, // a lower question after a higher one
		{6, 5},
	} {
		got, err := c.Newest(tt.upTo)
		if err != nil {
			t.Fatal(err)
		}
		if got != tt.want {
			t.Errorf("newest command at or below %d is %d, want %d", tt.upTo, got, tt.want)
		}
	}
}

func TestNoCommandIsLeftInACompactedLog(t *testing.T) {
	store := logs(t, raft.LogCommand, raft.LogNoop, raft.LogBarrier)
	if err := store.DeleteRange(1, 1); err != nil {
		t.Fatal(err)
	}
	if got, err := NewCommands(store).Newest(3); got != 0 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
}
