package logs

import (
	"context"
	"slices"
	"testing"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/api/logspb"
	"waypoint/api/nodepb"
)

// home has three lines of every instance.
type home struct {
	reading chan struct{} // a token for each read that has begun
}

func (h *home) Logs(_ context.Context, req *nodepb.LogsRequest, send func(*nodepb.LogsResponse) error) error {
	h.reading <- struct{}{}
	b := &logspb.Batch{InstanceId: req.GetInstanceId()}
	for seq := req.GetAfter() + 1; seq <= 3; seq++ {
		b.Lines = append(b.Lines, &logspb.Line{Seq: seq})
	}
	return send(&nodepb.LogsResponse{Batch: b})
}

func (*home) Row(string) *deploymentpb.Instance { return nil }

func TestLinesThatWaitWhileTheInstanceMovesAreReadAgain(t *testing.T) {
	row := func(boot string) *deploymentpb.Instance {
		return &deploymentpb.Instance{Id: "i", NodeId: "n", NodeBoot: boot}
	}
	h := &home{reading: make(chan struct{}, 100)}
	events := make(chan event) // nobody takes anything yet
	ctx, cancel := context.WithCancel(t.Context())
	s := newSource(Config{NodeID: "n", Local: h}, row("1"), &logspb.StreamRequest{Follow: true}, false, events)
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	<-h.reading
	s.set(row("2"))
	<-h.reading // of what the former home still has
	select {
	case e := <-events:
		var got []uint64
		for _, l := range e.batch.GetLines() {
			got = append(got, l.GetSeq())
		}
		if !slices.Equal(got, []uint64{1, 2, 3}) {
			t.Errorf("lines %d came", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("no lines came")
	}
}
