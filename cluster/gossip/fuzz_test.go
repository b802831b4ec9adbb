package gossip

import (
	"bytes"
	"net"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"waypoint/api/clusterpb"
)

// Whatever another node announces or says: it is known under the name and the
// address that gossip itself has, and its state is one of those that there are.
func FuzzAnnouncement(f *testing.F) {
	whole, err := proto.Marshal(&clusterpb.Node{Id: "other", Name: "b", Addr: "h:1", GossipAddr: "elsewhere:9"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("b", append([]byte{staying}, whole...), []byte("b"))
	f.Add("b", append([]byte{leaving}, whole...), []byte("nobody"))
	f.Add("b", []byte{}, []byte{})
	f.Add("a", []byte{7, 0xff}, []byte("a"))
	f.Fuzz(func(t *testing.T, name string, meta, message []byte) {
		g := &Gossip{id: "a", logger: hclog.NewNullLogger(), changed: func() {}, meta: []byte{staying},
			nodes: map[string]entry{}, claims: map[string]*clusterpb.Node{}, byes: map[string]bool{}}
		n := &memberlist.Node{Name: name, Addr: net.IPv4(10, 0, 0, 1), Port: 9703, Meta: meta}
		events{g}.NotifyJoin(n)
		checkNode(t, g.Node(name), name)
		left := len(meta) > 0 && meta[0] == leaving
		if state := g.State(name); state != Alive && !(left && state == Left) {
			t.Fatalf("a node that joined is %s", state)
		}
		events{g}.NotifyConflict(n, n)
		if claim := g.Claim(name); name != "a" {
			checkNode(t, claim, name)
		}
		delegate{g}.NotifyMsg(message)
		if said := string(message) == name; said && g.State(name) != Left {
			t.Fatalf("a node that said goodbye is %s", g.State(name))
		} else if !said && g.State(string(message)) != Unknown {
			t.Fatal("a goodbye has made a node known")
		}
		events{g}.NotifyLeave(n)
		if state := g.State(name); state != Dead && state != Left {
			t.Fatalf("a node that is gone is %s", state)
		}
		if len(g.nodes) != 1 || bytes.Equal(g.meta, []byte{leaving}) {
			t.Fatalf("%d nodes are known", len(g.nodes))
		}
	})
}

func checkNode(t *testing.T, node *clusterpb.Node, name string) {
	t.Helper()
	if node.GetId() != name || node.GetGossipAddr() != "10.0.0.1:9703" {
		t.Fatalf("node %q is known as %v", name, node)
	}
}
