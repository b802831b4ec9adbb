package protofuzz_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/internal/protofuzz"
)

func TestEveryInputIsAMessageAndTheSameOneEachTime(t *testing.T) {
	kinds := map[string]bool{}
	for b := range 256 {
		data := bytes.Repeat([]byte{byte(b), 1, byte(b), 7, 2}, 40)
		first, second := &commandpb.Command{}, &commandpb.Command{}
		protofuzz.New(data, "a", "b").Fill(first)
		protofuzz.New(data, "a", "b").Fill(second)
		if !proto.Equal(first, second) {
			t.Fatalf("input %d gives %v and %v", b, first, second)
		}
		encoded, err := proto.Marshal(first)
		if err != nil {
			t.Fatalf("input %d cannot be sent: %v", b, err)
		}
		kinds[string(encoded[:2])] = true
	}
	if len(kinds) < 20 {
		t.Errorf("256 inputs give only %d kinds of messages", len(kinds))
	}
}

func TestAnEmptyInputIsAnEmptyMessage(t *testing.T) {
	m := &commandpb.Entry{}
	protofuzz.New(nil).Fill(m)
	if proto.Size(m) != 0 {
		t.Errorf("it gives %v", m)
	}
}
