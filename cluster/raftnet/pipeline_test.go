package raftnet

import (
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
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

func (s sent) Consumer() <-chan raft.AppendFuture { return nil }

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

// A follower that cannot store an entry refuses it and what comes behind it.
func TestPipelineEndsWhenTheFollowerRefuses(t *testing.T) {
	config := func() *raft.NetworkTransportConfig {
		return &raft.NetworkTransportConfig{MaxPool: 1, MaxRPCsInFlight: 2, Timeout: time.Minute, Logger: hclog.NewNullLogger()}
	}
	follower, err := raft.NewTCPTransportWithConfig("127.0.0.1:0", nil, config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { follower.Close() })
	go func() {
		for {
			select {
			case rpc := <-follower.Consumer():
				rpc.Respond(&raft.AppendEntriesResponse{Term: 4}, nil)
			case <-t.Context().Done():
				return
			}
		}
	}()
	inner, err := raft.NewTCPTransportWithConfig("127.0.0.1:0", nil, config())
	if err != nil {
		t.Fatal(err)
	}
	leader := NewTransport(inner, nil)
	t.Cleanup(func() { leader.Close() })
	p, err := leader.AppendEntriesPipeline("b", follower.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	send := func(index uint64) error {
		_, err := p.AppendEntries(&raft.AppendEntriesRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}, Term: 4, Entries: []*raft.Log{{Index: index, Term: 4}},
		}, &raft.AppendEntriesResponse{})
		return err
	}
	if err := send(1); err != nil {
		t.Fatal(err)
	}
	if answer := <-p.Consumer(); answer.Response().Success {
		t.Fatal("it was not refused")
	}
	// Raft takes no further answer, and sends until it hears that it should not.
	failed := make(chan error, 1)
	go func() {
		for index := uint64(2); ; index++ {
			leader.PushCommit(4, index)
			if err := send(index); err != nil {
				failed <- err
				return
			}
		}
	}()
	select {
	case <-failed:
	case <-time.After(10 * time.Second):
		t.Error("a sender hangs")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
