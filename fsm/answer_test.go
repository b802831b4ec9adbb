package fsm

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/errpb"
)

func TestAnswerHasEveryFieldOfTheResult(t *testing.T) {
	result := &commandpb.Result{Error: &errpb.Error{Message: "m"}, Ids: []string{"a"}, Sequence: 1, Version: 2, Unchanged: true}
	want := proto.CloneOf(result)
	want.Index = 7
	fields := want.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if !want.ProtoReflect().Has(fields.Get(i)) {
			t.Errorf("the test does not know the field %s", fields.Get(i).Name())
		}
	}
	if got := answer(result, 7); !proto.Equal(got, want) || result.GetIndex() != 0 {
		t.Errorf("got %v, want %v", got, want)
	}
}
