package cluster

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// memorySink keeps what is written.
type memorySink struct {
	raft.SnapshotSink
	written string
}

func (m *memorySink) Write(p []byte) (int, error) {
	m.written += string(p)
	return len(p), nil
}

// chattySnapshot writes twice.
type chattySnapshot struct{ raft.FSMSnapshot }

func (chattySnapshot) Persist(sink raft.SnapshotSink) error {
	for _, part := range []string{"a", "b"} {
		if _, err := sink.Write([]byte(part)); err != nil {
			return err
		}
	}
	return nil
}

func TestASnapshotIsWrittenWhole(t *testing.T) {
	sink := &memorySink{}
	if err := (restingSnapshot{chattySnapshot{}}).Persist(sink); err != nil || sink.written != "ab" {
		t.Errorf("%q was written, error %v", sink.written, err)
	}
}

func TestTheWriterOfASnapshotRestsAsLongAsItWorks(t *testing.T) {
	var rests []time.Duration
	s := &restingSink{SnapshotSink: &memorySink{}, rest: func(d time.Duration) { rests = append(rests, d) }}
	for _, worked := range []time.Duration{time.Millisecond, time.Hour} {
		s.since = time.Now().Add(-worked)
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if rests[0] < time.Millisecond || rests[1] != longestRest {
		t.Errorf("rests are %v", rests)
	}
}
