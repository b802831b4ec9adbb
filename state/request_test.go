package state

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/commandpb"
	"waypoint/internal/ids"
)

func remember(s *Store, id string, born time.Time, version uint64) {
	e := s.Begin()
	e.Command().Remember(&commandpb.Request{
		TokenId: "t", RequestId: id, At: timestamppb.New(born), Result: &commandpb.Result{Version: version},
	})
	e.Commit(1, born)
}

func TestRequestsAreForgottenByTheirAge(t *testing.T) {
	s := New()
	start := time.UnixMilli(1_700_000_000_000)
	var made []string
	for i := range 100 {
		born := start.Add(time.Duration(i) * time.Second)
		made = append(made, ids.At(born))
		remember(s, made[i], born, uint64(i))
	}
	s.Begin().Command().ForgetRequests(start.Add(55 * time.Second))
	for i, id := range made {
		row := s.Read().Request("t", id)
		if forgotten := row == nil; forgotten != (i < 55) || s.Read().Request("other", id) != nil {
			t.Errorf("request of second %d: %v", i, row)
		}
		if row != nil && (row.GetResult().GetVersion() != uint64(i) || row.GetRequestId() != id) {
			t.Errorf("request of second %d: %v", i, row)
		}
	}
}

func TestASnapshotHasNoLaterRequests(t *testing.T) {
	s := New()
	born := time.UnixMilli(1_700_000_000_000)
	early := ids.At(born)
	remember(s, early, born, 1)
	before := s.Snapshot()
	want := encodeSnapshot(t, before)
	for range 2 * requestChunk {
		remember(s, ids.At(born), born, 2)
	}
	s.Begin().Command().ForgetRequests(born.Add(time.Hour))
	if string(encodeSnapshot(t, before)) != string(want) {
		t.Error("the snapshot has changed")
	}
	if s.Read().Request("t", early) != nil {
		t.Error("the request is still there")
	}
	restored := New()
	if err := restored.Restore(bytes.NewReader(want)); err != nil {
		t.Fatal(err)
	}
	if row := restored.Read().Request("t", early); row.GetResult().GetVersion() != 1 {
		t.Errorf("restored %v", row)
	}
}

func encodeSnapshot(t *testing.T, s *Snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
