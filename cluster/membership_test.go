package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"waypoint/api/commandpb"
	"waypoint/api/runnerpb"
	"waypoint/api/versionpb"
	"waypoint/cluster/raftnet"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/version"
)

// attachRunner records a runner with this node as its home.
func (m *member) attachRunner() (id string) {
	m.t.Helper()
	id = ids.New()
	_, err := m.Apply(m.t.Context(), &commandpb.Command{
		RequestId: ids.New(), TokenId: nodeToken(m.NodeID()),
		Kind: &commandpb.Command_RunnerAttach{RunnerAttach: &commandpb.RunnerAttach{Runner: &runnerpb.Runner{
			Id: id, Name: id, NodeId: m.NodeID(), NodeBoot: m.BootID(), Generation: 1,
		}}},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return id
}

func (m *member) runnerState(id string) runnerpb.State {
	return m.store.Read().Runner(id).GetState()
}

func TestWhatADeadNodeWasHomeToIsMarkedLost(t *testing.T) {
	t.Parallel()
	all := three(t)
	lead, rest := leader(t, all)
	runner, other := rest[0].attachRunner(), rest[1].attachRunner()
	rest[0].crash()
	wait.For(t, patience, "the runner to be lost", func() bool {
		return lead.runnerState(runner) == runnerpb.State_STATE_LOST
	})
	if got := lead.runnerState(other); got != runnerpb.State_STATE_ATTACHED {
		t.Errorf("a runner of a live node is %v", got)
	}
}

func TestRestartedNodeGivesUpWhatItsFormerProcessHad(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	runner := a.attachRunner()
	a.crash()
	b := a.again().ready()
	if a.BootID() == b.BootID() {
		t.Error("two runs have one boot id")
	}
	if got := b.runnerState(runner); got != runnerpb.State_STATE_LOST {
		t.Errorf("the runner of the former process is %v", got)
	}
}

func TestServerThatIsGoneForLongIsRemoved(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	cfg.Tuning.DeadAfter = 5 * time.Second // more than a busy machine holds up a node that joins
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	a := run(t, cfg).ready()
	b, c := a.join("b"), a.join("c")
	voters(t, []*member{a, b, c}, 3)
	wait.For(t, patience, "the node with the short timer to lead", func() bool {
		for _, m := range []*member{b, c} {
			if m.leadership.leading() != nil {
				_ = m.leadership.transfer() // to either of the others
			}
		}
		return a.leadership.leading() != nil
	})
	c.crash()
	wait.For(t, patience, "c to be removed", func() bool { return len(a.Members()) == 2 && len(a.roster.servers()) == 2 })
	a.apply("after")

	// It was removed while it was away, and says so when it comes back.
	back := c.again()
	select {
	case err := <-back.ended:
		back.ended <- err
		if !errors.Is(err, errRemoved) {
			t.Errorf("a removed node ended with %v", err)
		}
	case <-back.Ready():
		t.Error("a removed node was taken back")
	case <-time.After(patience):
		t.Error("a removed node does not find out")
	}
}

func TestNoServerIsRemovedThatTheQuorumNeeds(t *testing.T) {
	t.Parallel()
	servers := map[string]raft.Server{}
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		servers[id] = raftnet.Server(id, raft.Voter)
	}
	servers["n"] = raftnet.Server("n", raft.Nonvoter)
	for _, tt := range []struct {
		there string
		id    string
		want  bool
	}{
		{"abcd", "e", true},
		{"abc", "e", true},
		{"ab", "e", false},
		{"a", "n", true},
	} {
		got := spare(servers[tt.id], servers, func(id string) bool {
			for _, c := range tt.there {
				if string(c) == id {
					return true
				}
			}
			return false
		})
		if got != tt.want {
			t.Errorf("with %s there, %s is spare: %v", tt.there, tt.id, got)
		}
	}
}

func TestMembersTellWhoIsThere(t *testing.T) {
	t.Parallel()
	all := three(t)
	lead, rest := leader(t, all)
	for _, m := range all {
		wait.For(t, patience, m.cfg.Name+" to know all members", func() bool {
			members := m.Members()
			leaders, selves, alive := 0, 0, 0
			for _, x := range members {
				if x.GetLeader() && x.GetNode().GetId() == lead.NodeID() {
					leaders++
				}
				if x.GetSelf() && x.GetNode().GetId() == m.NodeID() {
					selves++
				}
				if x.GetGossip() == "alive" {
					alive++
				}
			}
			return fmt.Sprint(len(members), leaders, selves, alive, len(m.Servers())) == "3 1 1 3 3"
		})
	}
	peers, err := lead.RaftPeers()
	if err != nil || len(peers.GetPeers()) != 3 || peers.GetTerm() == 0 || peers.GetCommitIndex() == 0 {
		t.Errorf("peers: %v, %v", peers, err)
	}
	for _, p := range peers.GetPeers() {
		if p.GetLeader() != (p.GetLastContactMs() == 0) {
			t.Errorf("peer %v", p)
		}
	}
	gone := rest[0]
	gone.stop()
	wait.For(t, patience, "the goodbye to arrive", func() bool {
		for _, x := range lead.Members() {
			if x.GetNode().GetId() == gone.NodeID() {
				return x.GetGossip() == "left"
			}
		}
		return false
	})
}

func TestCredentialsOfANodesOwnHost(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	wait.For(t, patience, "the address to be noted", func() bool {
		_, addr, err := LocalCredentials(a.cfg.DataDir)
		return err == nil && addr == a.Addr()
	})
	config, addr, err := LocalCredentials(a.cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if id, ok := a.PeerIdentity(conn.ConnectionState()); !ok || id != a.NodeID() {
		t.Errorf("the node at the other end is %q, %v", id, ok)
	}
}

func TestPeerIsCheckedAndKept(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	b := a.join("b")
	one, err := a.Peer(b.NodeID())
	if err != nil {
		t.Fatal(err)
	}
	two, err := a.Peer(b.NodeID())
	if err != nil || one != two {
		t.Errorf("two connections to one peer: %v", err)
	}
	if _, err := a.Peer(ids.New()); err == nil {
		t.Error("a connection to a node that does not exist")
	}
}

// speaking returns a build that speaks that range of the node protocol.
func speaking(low, high uint32) *versionpb.Build {
	b := version.Build()
	b.Ranges.Node = &versionpb.Range{Min: low, Current: high}
	return b
}

func TestNodeVersionIsRaisedOnceEveryServerCan(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	cfg.Build = speaking(1, 1)
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	a := run(t, cfg).ready()
	b := a.join("b")
	voters(t, []*member{a, b}, 2)
	active := func(m *member) uint32 { return m.store.Read().Meta().NodeVersion }

	b.stop()
	b.cfg.Build = speaking(1, 2)
	b = b.atHome().ready()
	b.apply("one")
	if got := active(b); got != 1 {
		t.Errorf("version %d is active though a cannot speak it", got)
	}
	a.stop()
	a.cfg.Build = speaking(1, 2)
	a = a.atHome().ready()
	for _, m := range []*member{a, b} {
		wait.For(t, patience, m.cfg.Name+" to speak version 2", func() bool { return active(m) == 2 })
	}

	late := config(t, "c")
	late.Build = speaking(1, 1)
	if err := Join(t.Context(), late, a.joinToken(0)); !errs.Is(err, errs.Protocol) {
		t.Errorf("join of a node that is too old: %v", err)
	}
}
