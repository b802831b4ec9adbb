package cluster_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/cluster"
	"waypoint/rpc/rpctest"
)

// fake is a cluster of one that notes what it is asked.
type fake struct {
	requestID, tokenID string
	lifetime           time.Duration
	joined             *clusterpb.JoinRequest
	removed            string
	force              bool
}

var _ cluster.Cluster = (*fake)(nil)

func (f *fake) Members() []*clusterpb.Member {
	return []*clusterpb.Member{{Node: &clusterpb.Node{Name: "a"}, Leader: true, Self: true}}
}

func (f *fake) RaftPeers() (*clusterpb.RaftPeersResponse, error) {
	return &clusterpb.RaftPeersResponse{Term: 7}, nil
}

func (f *fake) Servers() []string { return []string{"a:9701", "b:9701"} }

func (f *fake) CreateJoinToken(_ context.Context, requestID, tokenID string, lifetime time.Duration) (*clusterpb.CreateJoinTokenResponse, error) {
	f.requestID, f.tokenID, f.lifetime = requestID, tokenID, lifetime
	return &clusterpb.CreateJoinTokenResponse{Text: "join"}, nil
}

func (f *fake) AcceptJoin(_ context.Context, req *clusterpb.JoinRequest) (*clusterpb.JoinResponse, error) {
	f.joined = req
	return &clusterpb.JoinResponse{ClusterId: "c"}, nil
}

func (f *fake) RemoveNode(_ context.Context, requestID, tokenID, nodeID string, force bool) (uint64, error) {
	f.requestID, f.tokenID, f.removed, f.force = requestID, tokenID, nodeID, force
	if nodeID == lastVoter {
		return 0, errs.New(errs.Conflict, "the only voter")
	}
	return 1, nil
}

// lastVoter is the id of a node that cannot be removed.
const lastVoter = "01JNC00000000000000000000A"

func start(t *testing.T) (*fake, *rpctest.Fixture, *rpctest.Server) {
	f, c := rpctest.New(t), &fake{}
	return c, f, f.Serve(cluster.New(cluster.Config{Reader: f.Reader(), Cluster: c}))
}

func mustBe(t *testing.T, err error, kind errs.Kind, word string) {
	t.Helper()
	if !errs.Is(err, kind) || !strings.Contains(err.Error(), word) {
		t.Errorf("error %v, want kind %v and the word %q", err, kind, word)
	}
}

func TestMembersAreShownWithoutAQuorum(t *testing.T) {
	_, f, server := start(t)
	f.OnFresh(func(context.Context) error { return errs.New(errs.Unavailable, "no quorum") })
	client := clusterpb.NewClusterClient(server.Dial(f.User))
	members, err := client.Members(t.Context(), &clusterpb.MembersRequest{})
	if err != nil || len(members.GetMembers()) != 1 || members.GetActiveNodeVersion() != 1 {
		t.Errorf("members %v %v", members, err)
	}
	peers, err := client.RaftPeers(t.Context(), &clusterpb.RaftPeersRequest{})
	if err != nil || peers.GetTerm() != 7 {
		t.Errorf("peers %v %v", peers, err)
	}
}

func TestEveryTokenHolderLearnsTheServers(t *testing.T) {
	_, f, server := start(t)
	for _, kind := range []authpb.TokenKind{authpb.TokenKind_TOKEN_KIND_USER, authpb.TokenKind_TOKEN_KIND_RUNNER, authpb.TokenKind_TOKEN_KIND_ENTRYPOINT} {
		_, text := f.Token(kind, ids.New())
		answer, err := clusterpb.NewClusterClient(server.Dial(text)).Servers(t.Context(), &clusterpb.ServersRequest{})
		if err != nil || len(answer.GetAddrs()) != 2 {
			t.Errorf("%v: %v %v", kind, answer, err)
		}
	}
}

func TestJoinTokenIsMadeForTheCaller(t *testing.T) {
	c, f, server := start(t)
	row, text := f.Token(authpb.TokenKind_TOKEN_KIND_USER, "ann")
	client := clusterpb.NewClusterClient(server.Dial(text))
	id := ids.New()
	answer, err := client.CreateJoinToken(rpctest.WithRequestID(t.Context(), id), &clusterpb.CreateJoinTokenRequest{})
	if err != nil || answer.GetText() != "join" || c.requestID != id || c.tokenID != row.GetId() || c.lifetime != time.Hour {
		t.Errorf("answer %v %v, asked with %q %q %v", answer, err, c.requestID, c.tokenID, c.lifetime)
	}
	for _, lifetime := range []*durationpb.Duration{{}, durationpb.New(-time.Hour), durationpb.New(31 * 24 * time.Hour), {Seconds: 1 << 62}} {
		_, err := client.CreateJoinToken(t.Context(), &clusterpb.CreateJoinTokenRequest{Lifetime: lifetime})
		mustBe(t, err, errs.Invalid, "lifetime")
	}
}

func TestANodeIsRemovedByNameOrID(t *testing.T) {
	c, f, server := start(t)
	row, text := f.Token(authpb.TokenKind_TOKEN_KIND_USER, "ann")
	client := clusterpb.NewClusterClient(server.Dial(text))
	member := c.known(t, f)
	for _, called := range []string{member.GetId(), member.GetName()} {
		id := ids.New()
		reply, err := client.RemoveNode(rpctest.WithRequestID(t.Context(), id), &clusterpb.RemoveNodeRequest{Node: called, Force: true})
		if err != nil || reply.GetNode().GetName() != member.GetName() || c.removed != member.GetId() || !c.force ||
			c.requestID != id || c.tokenID != row.GetId() {
			t.Errorf("%s: %v, %v; asked %+v", called, reply, err, c)
		}
	}
	// A call that is made again finds no member and must still get its answer.
	gone := ids.New()
	if reply, err := client.RemoveNode(t.Context(), &clusterpb.RemoveNodeRequest{Node: gone}); err != nil || reply.GetNode().GetId() != gone || c.force {
		t.Errorf("an id that is not a member's: %v, %v", reply, err)
	}
	_, err := client.RemoveNode(t.Context(), &clusterpb.RemoveNodeRequest{Node: "nobody"})
	mustBe(t, err, errs.NotFound, "nobody")
	_, err = client.RemoveNode(t.Context(), &clusterpb.RemoveNodeRequest{Node: lastVoter})
	mustBe(t, err, errs.Conflict, "only voter")
}

// known is a member of the fixture's state.
func (f *fake) known(t *testing.T, fixture *rpctest.Fixture) *clusterpb.Node {
	t.Helper()
	nodes := fixture.Reader().Local().Nodes()
	if len(nodes) == 0 {
		t.Fatal("the fixture has no node")
	}
	return nodes[0]
}

func TestJoinNeedsNoTokenOfItsOwn(t *testing.T) {
	c, _, server := start(t)
	client := clusterpb.NewClusterClient(server.Dial(""))
	good := func() *clusterpb.JoinRequest {
		return &clusterpb.JoinRequest{TokenId: ids.New(), Secret: []byte("secret"), Csr: []byte("csr"),
			Node: &clusterpb.Node{Id: ids.New(), Name: "b", Addr: "b:9701"}}
	}
	if answer, err := client.Join(t.Context(), good()); err != nil || answer.GetClusterId() != "c" || c.joined.GetNode().GetName() != "b" {
		t.Errorf("join: %v %v", answer, err)
	}
	for word, spoil := range map[string]func(*clusterpb.JoinRequest){
		"carries no token":    func(r *clusterpb.JoinRequest) { r.Secret = nil },
		"too long":            func(r *clusterpb.JoinRequest) { r.Secret = make([]byte, 1000) },
		"certificate request": func(r *clusterpb.JoinRequest) { r.Csr = make([]byte, 100_000) },
		"node id":             func(r *clusterpb.JoinRequest) { r.Node.Id = "" },
		"address":             func(r *clusterpb.JoinRequest) { r.Node.Addr = strings.Repeat("a", 2000) },
		"node name":           func(r *clusterpb.JoinRequest) { r.Node.Name = "a b" },
	} {
		req := good()
		spoil(req)
		_, err := client.Join(t.Context(), req)
		mustBe(t, err, errs.Invalid, word)
	}
}
