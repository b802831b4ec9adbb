// Package fsm is the state machine that Raft feeds: it decodes entries, hands
// each command to the function for its kind, and writes and reads snapshots.
// There is one file of commands for each kind of object.
//
// What a command does is a function of the state, the command and the entry's
// time, index and term, and of nothing else: no clock, no randomness, no
// input or output, no map order. Refusals are results like any other. Sealed
// values pass through unopened.
//
// The package must not know who calls Raft, how a command came here, or what
// the services are.
package fsm

import (
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/state"
)

// FSM applies Raft's log to a store. Raft calls it from one goroutine.
type FSM struct {
	store  *state.Store
	logger hclog.Logger
	kinds  kinds
}

var _ raft.FSM = (*FSM)(nil)

// New returns a state machine that changes the store. Nothing else may.
func New(store *state.Store, logger hclog.Logger) *FSM {
	return &FSM{store: store, logger: logger, kinds: allKinds()}
}

// place is where in the log a command stands.
type place struct {
	index  uint64
	term   uint64
	number int       // within the entry, from 0 up
	time   time.Time // the entry's
}

// Apply applies one entry and returns a []*commandpb.Result, one of each
// command in the same order. It panics on an entry that it cannot understand:
// the node has to stop rather than to differ from the others.
func (f *FSM) Apply(log *raft.Log) any {
	var entry commandpb.Entry
	if err := proto.Unmarshal(log.Data, &entry); err != nil {
		panic(fmt.Sprintf("log entry %d is damaged or of a newer build: %v", log.Index, err))
	}
	e := f.store.Begin()
	defer e.Abort()
	at := f.entryTime(&entry)
	// Their ids are refused by their age from now on.
	e.Command().ForgetRequests(at.Add(-state.RequestWindow))
	results := make([]*commandpb.Result, len(entry.GetCommands()))
	for n, command := range entry.GetCommands() {
		p := place{index: log.Index, term: log.Term, number: n, time: at}
		results[n] = answer(f.apply(e, p, command), log.Index)
	}
	e.Commit(log.Index, at)
	return results
}

// answer returns a result that the state shares, as the caller gets it.
func answer(r *commandpb.Result, index uint64) *commandpb.Result {
	return &commandpb.Result{
		Error: r.GetError(), Ids: r.GetIds(), Sequence: r.GetSequence(), Version: r.GetVersion(), Index: index, Unchanged: r.GetUnchanged(),
	}
}

// entryTime is the leader's stamp, but never before the previous entry's.
func (f *FSM) entryTime(entry *commandpb.Entry) time.Time {
	at := time.Unix(0, entry.GetTime()).UTC()
	if last := f.store.Meta().Time; at.Before(last) {
		return last
	}
	return at
}

// Snapshot returns the state as it is between two entries.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot{f.store.Snapshot()}, nil
}

// Restore replaces the state by a snapshot, or leaves it untouched and returns
// an error if the snapshot is damaged.
func (f *FSM) Restore(r io.ReadCloser) error {
	defer r.Close()
	return f.store.Restore(r)
}

type snapshot struct{ state *state.Snapshot }

// Persist writes the snapshot to the sink and closes it.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.state.WriteTo(sink); err != nil {
		if cancelErr := sink.Cancel(); cancelErr != nil {
			return fmt.Errorf("%w (and cancel: %w)", err, cancelErr)
		}
		return err
	}
	return sink.Close()
}

// Release does nothing: a snapshot holds nothing.
func (snapshot) Release() {}
