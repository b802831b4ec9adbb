package state

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"waypoint/api/clusterpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/projectpb"
)

// canceled is for asking whether a wait would return now.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// commit makes an entry of one change, at the index after the last.
func commit(s *Store, change func(*WriteTx)) {
	_, index := s.Index()
	e := s.Begin()
	defer e.Abort()
	change(e.Command())
	e.Commit(index+1, time.Unix(1, 0))
}

func TestQueriesWakeOnWhatTheyLookedAt(t *testing.T) {
	ref := &deploymentpb.AppRef{Project: "p", App: "a", Workspace: "w"}
	build := func(w *WriteTx) { Put(w, &deploymentpb.Build{Id: "b", App: ref, Sequence: 1}) }
	queued := func(w *WriteTx) { Put(w, &jobpb.Job{Id: "j", State: jobpb.State_STATE_QUEUED}) }
	tests := []struct {
		name   string
		query  func(*Tx)
		change func(*WriteTx)
		other  func(*WriteTx)
	}{
		{"a missing row", func(tx *Tx) { tx.Node("n") }, func(w *WriteTx) { Put(w, &clusterpb.Node{Id: "n"}) }, build},
		{"a list", func(tx *Tx) { tx.Projects() }, func(w *WriteTx) { Put(w, &projectpb.Project{Name: "x"}) }, build},
		{"an index", func(tx *Tx) { tx.Builds(ref, 1) }, build, queued},
		{"a reverse order", func(tx *Tx) { tx.Builds(nil, 1) }, build, queued},
		{"active jobs", func(tx *Tx) { tx.Jobs(JobFilter{States: []jobpb.State{jobpb.State_STATE_QUEUED}}) }, queued, build},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := New()
			ws := NewWatchSet()
			test.query(s.Read().Watch(ws))
			commit(s, test.other)
			if err := ws.Wait(canceled()); !errors.Is(err, context.Canceled) {
				t.Fatalf("woken by a change of something else: %v", err)
			}
			commit(s, test.change)
			if err := ws.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnAbortedEntryWakesNobodyAndChangesNothing(t *testing.T) {
	s := New()
	ws := NewWatchSet()
	s.Read().Watch(ws).Nodes()
	e := s.Begin()
	Put(e.Command(), &clusterpb.Node{Id: "n", Name: "n"})
	if e.Command().Node("n") == nil {
		t.Error("a command does not see an earlier one's change")
	}
	if s.Read().Node("n") != nil {
		t.Error("a reader sees a part of an entry")
	}
	e.Abort()
	e.Abort()
	if s.Read().Node("n") != nil {
		t.Error("the change is there")
	}
	if err := ws.Wait(canceled()); !errors.Is(err, context.Canceled) {
		t.Errorf("woken: %v", err)
	}
}

func TestAnAbortedCommandIsUndoneWithinItsEntry(t *testing.T) {
	s := sample(t)
	before := encode(t, s)
	e := s.Begin()
	w := e.Command()
	Put(w, &clusterpb.Node{Id: "n1", Name: "renamed"})
	Put(w, &clusterpb.Node{Id: "n1", Name: "renamed again"})
	Delete(w, w.Node("n1"))
	Put(w, &clusterpb.Node{Id: "n3", Name: "c"})
	Delete(w, w.Node("n3"))
	Put(w, &clusterpb.Node{Id: "n4", Name: "d"})
	Delete(w, w.Node("n2"))
	w.SetNodeVersion(9)
	w.Abort()
	w.Abort()
	kept := e.Command()
	Put(kept, &clusterpb.Node{Id: "n5", Name: "e"})
	kept.Commit()
	kept.Abort()
	if e.Command().NodeByName("a") == nil || e.Command().NodeByName("renamed") != nil || e.Command().Node("n5") == nil {
		t.Error("the names do not follow")
	}
	last := e.Command()
	Delete(last, last.Node("n5"))
	m := s.Read().Meta()
	e.Commit(m.Index, m.Time)
	if !bytes.Equal(before, encode(t, s)) {
		t.Error("something was left behind")
	}
}

func TestAViewDoesNotChange(t *testing.T) {
	s := New()
	before := s.Read()
	commit(s, func(w *WriteTx) { Put(w, &clusterpb.Node{Id: "n", Name: "n"}) })
	if len(before.Nodes()) != 0 {
		t.Error("an older view has the new row")
	}
}

func TestWaitIndex(t *testing.T) {
	s := New()
	waited := make(chan error, 1)
	go func() { waited <- s.WaitIndex(t.Context(), "e", 2) }()
	if err := s.WaitIndex(canceled(), "e", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a state without an epoch did not wait: %v", err)
	}
	commit(s, func(w *WriteTx) { w.SetCluster("c", "e", 1) })
	for _, c := range []struct {
		epoch string
		index uint64
		want  error
	}{{"e", 1, nil}, {"e", 0, nil}, {"e", 2, context.Canceled}, {"other", 9, nil}, {"", 9, nil}} {
		if err := s.WaitIndex(canceled(), c.epoch, c.index); !errors.Is(err, c.want) {
			t.Errorf("WaitIndex(%q, %d) = %v, want %v", c.epoch, c.index, err, c.want)
		}
	}
	e := s.Begin()
	e.Commit(5, time.Unix(2, 0))
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if epoch, index := s.Index(); epoch != "e" || index != 5 {
		t.Errorf("Index() = %s, %d", epoch, index)
	}
	if m := s.Read().Meta(); m.Index != 5 || !m.Time.Equal(time.Unix(2, 0)) {
		t.Errorf("Meta() = %+v", m)
	}
}
