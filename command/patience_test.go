package command

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"waypoint/api/clusterpb"
	"waypoint/api/projectpb"
	"waypoint/errs"
)

// slow makes a world whose calls for projects take until a word was said.
func slow(t *testing.T) *world {
	w := newWorld(t)
	w.Patience, w.err.wrote = time.Nanosecond, make(chan struct{})
	w.terminal.of[w.err] = true
	w.Environ = append(w.Environ, "NO_COLOR=1")
	w.cluster.answers[projects+"ListProjects"] = func(ctx context.Context, _ proto.Message) (proto.Message, error) {
		select {
		case <-w.err.wrote:
		case <-ctx.Done():
		}
		return &projectpb.ListProjectsResponse{}, ctx.Err()
	}
	return w
}

func TestOnATerminalALongCallSaysWhatItWaitsFor(t *testing.T) {
	const members = "waypoint.cluster.Cluster/Members"
	list := func(leader bool) proto.Message {
		return &clusterpb.MembersResponse{Members: []*clusterpb.Member{{Gossip: "alive", Leader: leader}, {Gossip: "dead"}, {Gossip: "dead"}}}
	}
	w := slow(t)
	for want, prepare := range map[string]func(){
		"waiting for a leader (1 of 3 servers are alive) ...\n": func() { w.cluster.answer(members, list(false)) },
		"waiting for an answer ...\n":                           func() { w.cluster.answer(members, list(true)) },
		"no server answers; trying again ...\n":                 func() { w.cluster.refuse(members, errs.Unavailable, "nobody is there") },
	} {
		prepare()
		if code, _, stderr := w.run("project", "list"); code != codeDone || stderr != want {
			t.Errorf("exit code %d\n%swant\n%s", code, stderr, want)
		}
	}
}

func TestAQuickCallSaysNothingOfWaiting(t *testing.T) {
	w := newWorld(t)
	w.Patience = time.Hour
	w.terminal.of[w.err] = true
	w.cluster.answer(projects+"ListProjects", &projectpb.ListProjectsResponse{})
	if code, _, stderr := w.run("project", "list"); code != codeDone || stderr != "" {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}
