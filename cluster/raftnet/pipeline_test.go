package raftnet

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// sent records what goes down a pipeline.
type sent struct {
	raft.AppendPipeline
	reqs chan *raft.AppendEntriesRequest
}

func (s sent) AppendEntries(req *raft.AppendEntriesRequest, _ *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	s.reqs <- req
	return nil, nil
}

func (s sent) Close() error { return nil }

func TestFollowersHearOfACommitAtOnceAndOnlyOfWhatTheyWereSent(t *testing.T) {
	out := sent{reqs: make(chan *raft.AppendEntriesRequest, 8)}
	tr := newTransport(t, newWire(), nil)
	p := newPipeline(out, tr, "b")
	defer p.Close()
	tr.mu.Lock()
	tr.pipelines["b"] = p
	tr.mu.Unlock()

	first := &raft.AppendEntriesRequest{
		Term: 4, PrevLogEntry: 7, PrevLogTerm: 3, LeaderCommitIndex: 7,
		Entries: []*raft.Log{{Index: 8, Term: 4}, {Index: 9, Term: 4}},
	}
	if _, err := p.AppendEntries(first, nil); err != nil {
		t.Fatal(err)
	}
	if got := next(t, out); got != first {
		t.Fatalf("Raft's own message was changed: %v", got)
	}

	tr.PushCommit(4, 8)
	if got := next(t, out); got.LeaderCommitIndex != 8 || got.PrevLogEntry != 9 || got.PrevLogTerm != 4 || got.Term != 4 || len(got.Entries) != 0 {
		t.Errorf("told %+v", got)
	}
	tr.PushCommit(4, 12) // more than was sent
	if got := next(t, out); got.LeaderCommitIndex != 9 {
		t.Errorf("told %+v", got)
	}
	tr.PushCommit(5, 13) // another term's
	tr.PushCommit(4, 9)  // known
	beat := &raft.AppendEntriesRequest{Term: 4, PrevLogEntry: 9, PrevLogTerm: 4, LeaderCommitIndex: 9}
	if _, err := p.AppendEntries(beat, nil); err != nil {
		t.Fatal(err)
	}
	if got := next(t, out); got != beat {
		t.Errorf("told %+v", got)
	}
}

func next(t *testing.T, s sent) *raft.AppendEntriesRequest {
	t.Helper()
	select {
	case req := <-s.reqs:
		return req
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was sent")
		return nil
	}
}
