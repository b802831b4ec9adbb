package gossip

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/clusterpb"
	"waypoint/internal/wait"
)

const patience = 20 * time.Second

func start(t *testing.T, id string, known map[string]string, key byte) *Gossip {
	t.Helper()
	g, err := Start(Config{
		NodeID: id, Bind: "127.0.0.1:0", Key: bytes.Repeat([]byte{key}, 32), Profile: "local",
		Logger: hclog.NewNullLogger(), Changed: func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx, func() map[string]string { return known }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		g.Stop()
	})
	return g
}

func sees(t *testing.T, g *Gossip, id string, want State) {
	t.Helper()
	wait.For(t, patience, id+" to be "+string(want), func() bool { return g.State(id) == want })
}

func TestNodesFindAndMissEachOther(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil, 1)
	known := map[string]string{"a": a.Addr()}
	b, c := start(t, "b", known, 1), start(t, "c", known, 1)
	sees(t, a, "b", Alive)
	sees(t, b, "c", Alive)

	if err := b.Announce(&clusterpb.Node{Name: "bee", Addr: "b:1"}); err != nil {
		t.Fatal(err)
	}
	wait.For(t, patience, "b's address", func() bool { return c.Node("b").GetAddr() == "b:1" })
	if c.Node("b").GetGossipAddr() != b.Addr() {
		t.Errorf("gossip address %q, want %q", c.Node("b").GetGossipAddr(), b.Addr())
	}

	if err := b.Leave(); err != nil {
		t.Fatal(err)
	}
	sees(t, a, "b", Left)
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	sees(t, a, "c", Dead)
	if a.State("d") != Unknown {
		t.Error("a node that never was is not unknown")
	}
}

func TestAnotherKeyIsAnotherCluster(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil, 1)
	b := start(t, "b", nil, 2)
	b.join(t.Context(), map[string]string{"a": a.Addr()}, true)
	if a.State("b") != Unknown || b.State("a") != Unknown {
		t.Errorf("they met: %v, %v", a.State("b"), b.State("a"))
	}
}

func TestTooMuchMetadataIsRefused(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil, 1)
	if err := a.Announce(&clusterpb.Node{Name: strings.Repeat("x", 600)}); err == nil {
		t.Error("600 bytes of metadata were accepted")
	}
}

func TestNodeThatCameBackElsewhereIsHeardOf(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil, 1)
	c := start(t, "c", map[string]string{"a": a.Addr()}, 1)
	known := map[string]string{"a": a.Addr(), "c": c.Addr()}
	old := start(t, "b", known, 1)
	for _, other := range []*Gossip{a, c} {
		sees(t, other, "b", Alive)
		if other.Claim("b") != nil {
			t.Error("a claim of the node that is there")
		}
	}
	old.Stop() // without a goodbye, like a kill
	back, err := Start(Config{
		NodeID: "b", Bind: "127.0.0.1:0", Key: bytes.Repeat([]byte{1}, 32), Profile: "wan",
		Logger: hclog.NewNullLogger(), Changed: func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Stop()
	if err := back.Announce(&clusterpb.Node{Name: "bee", Addr: "b:2"}); err != nil {
		t.Fatal(err)
	}
	back.join(t.Context(), known, true)
	for _, other := range []*Gossip{a, c} {
		wait.For(t, patience, "the claim", func() bool {
			return other.Claim("b").GetAddr() == "b:2" || other.Node("b").GetAddr() == "b:2"
		})
	}
	if back.Claim("b") != nil {
		t.Error("a node takes what others say of it for another node")
	}
}

// The library's list of members changes under whoever reads it.
func TestGoodbyesAreSaidWhileOthersChange(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil, 1)
	b := start(t, "b", map[string]string{"a": a.Addr()}, 1)
	sees(t, a, "b", Alive)
	sees(t, b, "a", Alive)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 5 {
			if err := b.Announce(&clusterpb.Node{Name: strings.Repeat("b", i+1)}); err != nil {
				t.Error(err)
			}
		}
	}()
	for going := true; going; {
		a.tellAll([]byte("nobody")).Wait()
		select {
		case <-done:
			going = false
		default:
		}
	}
	wait.For(t, patience, "b's goodbye", func() bool { a.tellAll([]byte("a")).Wait(); return b.State("a") == Left })
}
