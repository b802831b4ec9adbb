package raftnet

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// wire is a transport whose incoming messages a test makes.
type wire struct {
	*raft.InmemTransport
	rpcs    chan raft.RPC
	beat    func(raft.RPC)
	lastLog uint64
}

func newWire() *wire {
	_, inner := raft.NewInmemTransport("a")
	return &wire{InmemTransport: inner, rpcs: make(chan raft.RPC)}
}

func (w *wire) Consumer() <-chan raft.RPC             { return w.rpcs }
func (w *wire) SetHeartbeatHandler(fn func(raft.RPC)) { w.beat = fn }

func (w *wire) AppendEntries(_ raft.ServerID, _ raft.ServerAddress, _ *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	resp.LastLog = w.lastLog
	return nil
}

func (w *wire) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return idle{}, nil
}

func (w *wire) InstallSnapshot(raft.ServerID, raft.ServerAddress, *raft.InstallSnapshotRequest, *raft.InstallSnapshotResponse, io.Reader) error {
	return nil
}

func (w *wire) CloseStreams() {}

type idle struct{ raft.AppendPipeline }

func (idle) Consumer() <-chan raft.AppendFuture { return nil }

func (idle) AppendEntries(*raft.AppendEntriesRequest, *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	return nil, nil
}

func newTransport(t *testing.T, w *wire, quiet func(uint64, func()) bool) *Transport {
	t.Helper()
	tr := NewTransport(w, quiet)
	t.Cleanup(func() { tr.Close() })
	return tr
}

func TestOnlyHeartbeatsThatChangeNothingTakeTheFastWay(t *testing.T) {
	w := newWire()
	tr := newTransport(t, w, func(term uint64, handle func()) bool {
		if term != 5 {
			return false
		}
		handle()
		return true
	})
	var fast []uint64
	tr.SetHeartbeatHandler(func(rpc raft.RPC) { fast = append(fast, rpc.Command.(*raft.AppendEntriesRequest).Term) })

	w.beat(raft.RPC{Command: &raft.AppendEntriesRequest{Term: 5}})
	if len(fast) != 1 {
		t.Error("a harmless heartbeat did not take the fast way")
	}

	go w.beat(raft.RPC{Command: &raft.AppendEntriesRequest{Term: 6}})
	rpc := <-tr.Consumer()
	if got := rpc.Command.(*raft.AppendEntriesRequest).Term; got != 6 {
		t.Errorf("the main thread got term %d", got)
	}
	if len(fast) != 1 {
		t.Error("a heartbeat with a newer term took the fast way")
	}
}

func TestOtherMessagesReachTheMainThread(t *testing.T) {
	w := newWire()
	tr := newTransport(t, w, nil)
	go func() { w.rpcs <- raft.RPC{Command: &raft.RequestVoteRequest{Term: 9}} }()
	if rpc := <-tr.Consumer(); rpc.Command.(*raft.RequestVoteRequest).Term != 9 {
		t.Error("another message arrived")
	}
}

func TestAnswersAreContact(t *testing.T) {
	w := newWire()
	w.lastLog = 17
	tr := newTransport(t, w, nil)
	if _, ok := tr.Contact("b"); ok {
		t.Error("contact without an answer")
	}
	before := time.Now()
	if err := tr.AppendEntries("b", "b", &raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{}); err != nil {
		t.Fatal(err)
	}
	c, ok := tr.Contact("b")
	if !ok || c.LastLog != 17 || c.At.Before(before) {
		t.Errorf("contact %v, %v", c, ok)
	}
}

func TestMutedTransportSendsNothing(t *testing.T) {
	tr := newTransport(t, newWire(), nil)
	pipe, err := tr.AppendEntriesPipeline("b", "b")
	if err != nil {
		t.Fatal(err)
	}
	tr.Mute()
	if err := tr.AppendEntries("b", "b", nil, nil); !errors.Is(err, ErrMuted) {
		t.Errorf("heartbeat: %v", err)
	}
	if _, err := pipe.AppendEntries(nil, nil); !errors.Is(err, ErrMuted) {
		t.Errorf("entry: %v", err)
	}
}

func TestClosedTransportLetsGoOfHeartbeats(t *testing.T) {
	w := newWire()
	tr := NewTransport(w, func(uint64, func()) bool { return false })
	tr.SetHeartbeatHandler(func(raft.RPC) {})
	ended := make(chan struct{})
	go func() {
		w.beat(raft.RPC{Command: &raft.AppendEntriesRequest{Term: 1}})
		close(ended)
	}()
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
}

func TestClosedStreamClosesItsConnections(t *testing.T) {
	inbound := make(chan net.Conn, 2)
	s := NewStream("a", inbound, nil)
	if s.Addr().String() != "a" {
		t.Errorf("the Raft address is %v", s.Addr())
	}
	near, far := net.Pipe()
	inbound <- near
	if _, err := s.Accept(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
	if _, err := s.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
}
