package cluster

import (
	"time"

	"github.com/hashicorp/raft"
)

// longestRest bounds a single rest of a snapshot's writer.
const longestRest = 5 * time.Millisecond

// resting is a state machine whose snapshots are written with rests, so that
// writing one takes half of a processor at most: nobody waits for it, but
// everybody for what else the node does.
type resting struct{ raft.FSM }

// Snapshot implements raft.FSM.
func (r resting) Snapshot() (raft.FSMSnapshot, error) {
	s, err := r.FSM.Snapshot()
	if err != nil {
		return nil, err
	}
	return restingSnapshot{s}, nil
}

type restingSnapshot struct{ raft.FSMSnapshot }

// Persist implements raft.FSMSnapshot.
func (s restingSnapshot) Persist(sink raft.SnapshotSink) error {
	return s.FSMSnapshot.Persist(&restingSink{SnapshotSink: sink, since: time.Now(), rest: rested})
}

// restingSink rests after each write for as long as it took to come to it.
type restingSink struct {
	raft.SnapshotSink
	since time.Time // the end of the last rest
	rest  func(time.Duration)
}

// Write implements io.Writer.
func (s *restingSink) Write(p []byte) (int, error) {
	n, err := s.SnapshotSink.Write(p)
	s.rest(min(time.Since(s.since), longestRest))
	s.since = time.Now()
	return n, err
}

// rested returns after a while.
func rested(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}
