package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

func TestSealedEntryComesBackWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logs := raft.NewInmemStore()
		s := &sums{inner: logs, file: func(uint64) string { return "file" }}
		blob := rapid.SliceOfN(rapid.Byte(), 0, 40)
		var batch []*raft.Log
		for i := range rapid.IntRange(1, 5).Draw(t, "entries") {
			batch = append(batch, &raft.Log{
				Index: uint64(i + 7), Term: rapid.Uint64().Draw(t, "term"), Type: raft.LogType(rapid.IntRange(0, 5).Draw(t, "type")),
				Data: blob.Draw(t, "data"), Extensions: blob.Draw(t, "extensions"),
			})
		}
		before := fmt.Sprintf("%+v", *batch[0])
		if err := s.StoreLogs(batch); err != nil {
			t.Fatal(err)
		}
		if after := fmt.Sprintf("%+v", *batch[0]); after != before {
			t.Fatalf("the caller's entry was changed from %s to %s", before, after)
		}
		for i, want := range batch {
			var got raft.Log
			position, err := s.get(want.Index, &got)
			if err != nil {
				t.Fatal(err)
			}
			if got.Term != want.Term || got.Type != want.Type || !bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Extensions, want.Extensions) || position != uint32(i) {
				t.Fatalf("entry %+v came back as %+v at %d", want, got, position)
			}
		}
	})
}

func TestChangedEntryIsDamaged(t *testing.T) {
	original := &raft.Log{Index: 3, Term: 2, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("ext")}
	for name, change := range map[string]func(e *raft.Log){
		"index":      func(e *raft.Log) { e.Index++ },
		"term":       func(e *raft.Log) { e.Term++ },
		"type":       func(e *raft.Log) { e.Type = raft.LogNoop },
		"data":       func(e *raft.Log) { e.Data = []byte("dbta") },
		"no data":    func(e *raft.Log) { e.Data = nil },
		"moved":      func(e *raft.Log) { e.Data, e.Extensions = []byte("datae"), e.Extensions[1:] },
		"extensions": func(e *raft.Log) { e.Extensions[0] ^= 4 },
		"position":   func(e *raft.Log) { e.Extensions[6] ^= 4 },
		"checksum":   func(e *raft.Log) { e.Extensions[8] ^= 4 },
		"version":    func(e *raft.Log) { e.Extensions[len(e.Extensions)-1]++ },
		"plain":      func(e *raft.Log) { e.Extensions = nil },
	} {
		t.Run(name, func(t *testing.T) {
			e := *original
			e.Extensions = seal(original, 1)
			change(&e)
			logs := raft.NewInmemStore()
			if err := logs.StoreLog(&e); err != nil {
				t.Fatal(err)
			}
			var got raft.Log
			err := (&sums{inner: logs, file: func(uint64) string { return "the-file" }}).GetLog(e.Index, &got)
			if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("the-file is damaged: entry %d", e.Index)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestEntryInThePlaceOfAnotherIsDamaged(t *testing.T) {
	e := &raft.Log{Index: 3, Term: 2}
	e.Extensions = seal(e, 0)
	s := &sums{inner: swapped{raft.NewInmemStore(), e}, file: func(uint64) string { return "file" }}
	var got raft.Log
	if err := s.GetLog(4, &got); !errors.Is(err, errDamaged) {
		t.Errorf("got %v", err)
	}
}

// swapped answers every read with the same entry.
type swapped struct {
	*raft.InmemStore
	entry *raft.Log
}

func (s swapped) GetLog(_ uint64, entry *raft.Log) error {
	*entry = *s.entry
	return nil
}

// flip changes one byte of the newest file of a log where needle is found.
func flip(t *testing.T, file, needle string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(data, []byte(needle))
	if at < 0 {
		t.Fatalf("%s does not hold %s", file, needle)
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{data[at] ^ 1}, int64(at)); err != nil {
		t.Fatal(err)
	}
}

func TestFlippedBitIsFoundAtTheStart(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := written(t, kind)
		file := newest(t, dir, kind)
		flip(t, file, strings.Repeat("33", 100))
		s, err := open(t, dir)
		if err == nil {
			s.Close()
			t.Fatal("the damaged log was opened")
		}
		want := file + " is damaged: entry 33:"
		if kind == WAL {
			want = file + " is damaged: entry 31 cannot be read" // the first of its batch
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name file and entry: %v", err)
		}
	})
}

func TestFlippedBitIsFatalWhileTheNodeRuns(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		dir := written(t, kind)
		var fatal error
		s := opened(t, dir)
		defer s.Close()
		log := NewLog(s.sums, NewGuard(1<<40, func(err error) { fatal = err }))
		flip(t, newest(t, dir, kind), strings.Repeat("33", 100))
		var got raft.Log
		if err := log.GetLog(32, &got); err != nil || fatal != nil {
			t.Fatalf("whole entry: %v, fatal %v", err, fatal)
		}
		if err := log.GetLog(33, &got); !errors.Is(err, errDamaged) || !errors.Is(fatal, errDamaged) {
			t.Errorf("damaged entry: %v, fatal %v", err, fatal)
		}
	})
}
