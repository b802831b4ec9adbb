package raftnet

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// ErrMuted is what a muted transport says to Raft.
var ErrMuted = errors.New("the node has stopped talking because its disk does not answer")

// Network is the transport that is wrapped: raft.NetworkTransport, or its
// like in tests.
type Network interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
	CloseStreams()
}

// Contact is what the last answer of a peer said.
type Contact struct {
	At      time.Time
	LastLog uint64 // its newest log entry, committed or not
}

// Transport is Raft's transport with four changes.
//
// Heartbeats: the library handles them beside Raft's main thread, so that a
// slow disk does not look like a dead leader; but one with a newer term, or one
// that meets a leader or a candidate, changes Raft's state there, and the main
// thread may at that moment append to the log as the old leader. Only those
// that change nothing take the fast way, with the term held still; all others
// queue up for the main thread like any message.
//
// Contact: it remembers when each peer last answered and how far its log was.
//
// Commits: followers hear of them at once (PushCommit).
//
// Mute: a node whose disk hangs stops sending, so that others elect a leader.
type Transport struct {
	Network
	quiet    func(term uint64, handle func()) bool
	incoming chan raft.RPC
	done     chan struct{}
	stopped  sync.WaitGroup
	once     sync.Once
	muted    atomic.Bool

	mu        sync.Mutex
	contacts  map[raft.ServerID]Contact
	pipelines map[raft.ServerID]*pipeline
}

// NewTransport wraps inner. quiet runs handle only if a heartbeat of that term
// changes nothing on this node now and while handle runs, and reports whether
// it did.
func NewTransport(inner Network, quiet func(term uint64, handle func()) bool) *Transport {
	t := &Transport{
		Network:  inner,
		quiet:    quiet,
		incoming: make(chan raft.RPC),
		done:     make(chan struct{}),
		contacts: make(map[raft.ServerID]Contact),

		pipelines: make(map[raft.ServerID]*pipeline),
	}
	t.stopped.Add(1)
	go t.forward()
	return t
}

// forward merges the inner transport's messages with the heartbeats that do
// not take the fast way.
func (t *Transport) forward() {
	defer t.stopped.Done()
	for {
		select {
		case rpc := <-t.Network.Consumer():
			t.enqueue(rpc)
		case <-t.done:
			return
		}
	}
}

func (t *Transport) enqueue(rpc raft.RPC) {
	select {
	case t.incoming <- rpc:
	case <-t.done:
	}
}

// Consumer implements raft.Transport.
func (t *Transport) Consumer() <-chan raft.RPC { return t.incoming }

// SetHeartbeatHandler implements raft.Transport.
func (t *Transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	if handle == nil {
		t.Network.SetHeartbeatHandler(nil)
		return
	}
	t.Network.SetHeartbeatHandler(func(rpc raft.RPC) {
		beat, ok := rpc.Command.(*raft.AppendEntriesRequest)
		if !ok || !t.quiet(beat.Term, func() { handle(rpc) }) {
			t.enqueue(rpc)
		}
	})
}

// AppendEntries implements raft.Transport. Raft sends its heartbeats this way.
func (t *Transport) AppendEntries(id raft.ServerID, addr raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.muted.Load() {
		return ErrMuted
	}
	if err := t.Network.AppendEntries(id, addr, req, resp); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.contacts[id] = Contact{At: time.Now(), LastLog: resp.LastLog}
	return nil
}

// AppendEntriesPipeline implements raft.Transport.
func (t *Transport) AppendEntriesPipeline(id raft.ServerID, addr raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := t.Network.AppendEntriesPipeline(id, addr)
	if err != nil {
		return nil, err
	}
	p := newPipeline(inner, t, id)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pipelines[id] = p
	return p, nil
}

func (t *Transport) forget(p *pipeline) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pipelines[p.id] == p {
		delete(t.pipelines, p.id)
	}
}

// PushCommit tells the followers at once that the leader of that term, this
// node, has committed the index. The caller must have been sure of both when it
// read the index. It does not wait.
func (t *Transport) PushCommit(term, index uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.pipelines {
		p.tell(term, index)
	}
}

// InstallSnapshot implements raft.Transport. A peer that has taken a snapshot
// has been in contact.
func (t *Transport) InstallSnapshot(id raft.ServerID, addr raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := t.Network.InstallSnapshot(id, addr, req, resp, data); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.contacts[id] = Contact{At: time.Now(), LastLog: req.LastLogIndex}
	return nil
}

// Contact returns what is known of the peer's last answer; ok is false if it
// has never answered.
func (t *Transport) Contact(id raft.ServerID) (c Contact, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok = t.contacts[id]
	return c, ok
}

// Mute stops heartbeats and log entries for good.
func (t *Transport) Mute() { t.muted.Store(true) }

// Close implements raft.WithClose.
func (t *Transport) Close() error {
	err := t.Network.Close()
	t.Network.CloseStreams() // Close keeps the pooled connections
	t.once.Do(func() { close(t.done) })
	t.stopped.Wait()
	return err
}

var (
	_ raft.Transport   = (*Transport)(nil)
	_ raft.WithPreVote = (*Transport)(nil)
	_ raft.WithClose   = (*Transport)(nil)
)
