package cluster

import (
	"testing"

	"google.golang.org/grpc/connectivity"

	"waypoint/internal/wait"
)

func TestBootstrappedNodeAppliesAndReads(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	if res := a.apply("p"); res.GetIndex() == 0 {
		t.Error("the result has no index")
	}
	if err := a.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !a.sees("p") {
		t.Error("the change is not there")
	}
}

func TestThreeNodesBecomeVotersAndShareState(t *testing.T) {
	t.Parallel()
	all := three(t)
	for _, writer := range all {
		name := "by-" + writer.cfg.Name
		writer.apply(name)
		if !writer.sees(name) {
			t.Errorf("%s has not applied its own change", writer.cfg.Name)
		}
		for _, reader := range all {
			if err := reader.Fresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !reader.sees(name) {
				t.Errorf("%s does not see %s at once", reader.cfg.Name, name)
			}
		}
	}
}

// A follower has no call to make to another, until that one leads.
func TestNodesAreConnectedBeforeTheyNeedToBe(t *testing.T) {
	t.Parallel()
	all := three(t)
	ready := func(from, to *member) bool {
		from.peers.mu.Lock()
		defer from.peers.mu.Unlock()
		conn, ok := from.peers.conns[to.NodeID()]
		return ok && conn.GetState() == connectivity.Ready
	}
	_, rest := leader(t, all)
	for range 2 {
		for i, from := range rest {
			wait.For(t, patience, from.cfg.Name+" to be connected", func() bool { return ready(from, rest[1-i]) })
		}
		rest[1].crash()
		rest[1] = rest[1].again().ready()
	}
}
