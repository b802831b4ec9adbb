package raftnet

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// errRefused is of a pipeline on which the follower has refused something.
var errRefused = errors.New("the follower has refused an entry: Raft must look where its log ends")

// pipeline is the way of log entries to one follower. It adds three things.
//
// It can be muted: an idle leader's empty messages go this way too, and
// followers take them for a sign of life.
//
// It tells the follower of a commit at once. Raft does so with the next entry,
// or after its commit timeout if there is none, and until then nobody who asked
// that follower gets an answer. The message is the one that Raft would send: it
// names the last entry that was sent before it on this connection, and never
// more than that as committed, since nothing is known of what the follower has
// behind it.
//
// It ends when the follower refuses something. Raft then takes no further answer,
// and the library's pipeline, in which few messages may be on their way, blocks
// whoever sends one more. If Raft itself sends it, or waits for the push that
// does, nothing is replicated to that follower any more while this node leads.
type pipeline struct {
	raft.AppendPipeline
	t  *Transport
	id raft.ServerID

	answers chan raft.AppendFuture // to Raft
	refused atomic.Bool
	pushed  chan struct{} // one slot
	done    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once

	wantMu sync.Mutex
	term   uint64 // in which
	want   uint64 // is committed

	mu     sync.Mutex                // held while something is sent
	last   raft.AppendEntriesRequest // header, term, and the last entry sent
	commit uint64                    // last told
}

func newPipeline(inner raft.AppendPipeline, t *Transport, id raft.ServerID) *pipeline {
	p := &pipeline{
		AppendPipeline: inner, t: t, id: id,
		answers: make(chan raft.AppendFuture), pushed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	p.stopped.Go(p.push)
	p.stopped.Go(p.relay)
	return p
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// relay hands answers to Raft, up to the first refusal, and takes what comes after
// that until the pipeline is closed.
func (p *pipeline) relay() {
	for {
		select {
		case f := <-p.AppendPipeline.Consumer():
			if p.refused.Load() {
				continue
			}
			p.refused.Store(!f.Response().Success || f.Response().Term > f.Request().Term)
			select {
			case p.answers <- f:
			case <-p.done:
				return
			}
		case <-p.done:
			return
		}
	}
}

// AppendEntries implements raft.AppendPipeline.
func (p *pipeline) AppendEntries(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.t.muted.Load() {
		return nil, ErrMuted
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused.Load() {
		return nil, errRefused
	}
	future, err := p.AppendPipeline.AppendEntries(req, resp)
	if err != nil {
		return nil, err
	}
	p.last = *req
	p.last.Entries = nil
	if n := len(req.Entries); n > 0 {
		p.last.PrevLogEntry, p.last.PrevLogTerm = req.Entries[n-1].Index, req.Entries[n-1].Term
	}
	p.commit = req.LeaderCommitIndex
	return future, nil
}

// Close implements raft.AppendPipeline.
func (p *pipeline) Close() error {
	p.t.forget(p)
	err := p.AppendPipeline.Close() // first: it lets go of a send
	p.once.Do(func() { close(p.done) })
	p.stopped.Wait()
	return err
}

// tell has the follower told that this leader has committed the index.
func (p *pipeline) tell(term, commit uint64) {
	p.wantMu.Lock()
	p.term, p.want = term, commit
	p.wantMu.Unlock()
	select {
	case p.pushed <- struct{}{}:
	default:
	}
}

// push sends the messages, one at a time, until the pipeline is closed.
func (p *pipeline) push() {
	for {
		select {
		case <-p.pushed:
		case <-p.done:
			return
		}
		p.send()
	}
}

func (p *pipeline) send() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wantMu.Lock()
	term, commit := p.term, min(p.want, p.last.PrevLogEntry)
	p.wantMu.Unlock()
	if p.last.Term != term || commit <= p.commit || p.t.muted.Load() || p.refused.Load() {
		return
	}
	req := p.last
	req.LeaderCommitIndex = commit
	// If this fails, the connection is broken, and Raft finds that out as well.
	if _, err := p.AppendPipeline.AppendEntries(&req, &raft.AppendEntriesResponse{}); err == nil {
		p.commit = commit
	}
}
