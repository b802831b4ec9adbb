package state

import (
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

func commit(s *Store, change func(*WriteTx)) {
	w := s.Begin()
	defer w.Abort()
	change(w)
	w.Commit()
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
			s.Advance(1, time.Unix(1, 0))
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

func TestAnAbortedTransactionWakesNobodyAndChangesNothing(t *testing.T) {
	s := New()
	ws := NewWatchSet()
	s.Read().Watch(ws).Nodes()
	w := s.Begin()
	Put(w, &clusterpb.Node{Id: "n", Name: "n"})
	if w.Node("n") == nil {
		t.Error("a transaction does not see its own change")
	}
	w.Abort()
	w.Abort()
	if s.Read().Node("n") != nil {
		t.Error("the change is there")
	}
	if err := ws.Wait(canceled()); !errors.Is(err, context.Canceled) {
		t.Errorf("woken: %v", err)
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
	s.Advance(1, time.Unix(1, 0))
	for _, c := range []struct {
		epoch string
		index uint64
		want  error
	}{{"e", 1, nil}, {"e", 0, nil}, {"e", 2, context.Canceled}, {"other", 9, nil}, {"", 9, nil}} {
		if err := s.WaitIndex(canceled(), c.epoch, c.index); !errors.Is(err, c.want) {
			t.Errorf("WaitIndex(%q, %d) = %v, want %v", c.epoch, c.index, err, c.want)
		}
	}
	s.Advance(5, time.Unix(2, 0))
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
