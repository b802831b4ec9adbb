package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
)

// remove asks m to remove another node.
func (m *member) remove(nodeID string, force bool) error {
	m.t.Helper()
	_, err := m.RemoveNode(m.t.Context(), ids.New(), m.userToken(), nodeID, force)
	return err
}

// endsRemoved waits until a node says that it is not a member any more.
func (m *member) endsRemoved() {
	m.t.Helper()
	select {
	case err := <-m.ended:
		m.ended <- err
		if !errors.Is(err, errRemoved) || !strings.Contains(err.Error(), "server join-token") {
			m.t.Errorf("%s ended with %v", m.cfg.Name, err)
		}
	case <-time.After(2 * patience):
		m.t.Fatalf("%s does not find out that it was removed", m.cfg.Name)
	}
}

// configured are the names of Raft's servers as m sees them.
func (m *member) configured() (names []string) {
	for _, s := range m.roster.servers() {
		names = append(names, m.store.Read().Node(string(s.ID)).GetName())
	}
	slices.Sort(names)
	return names
}

func TestADeadNodeIsReplacedUnderItsName(t *testing.T) {
	t.Parallel()
	all := three(t)
	lead, rest := leader(t, all)
	dead, alive := rest[0], rest[1]
	dead.crash()
	if err := alive.remove(dead.NodeID(), false); err != nil { // through a follower
		t.Fatal(err)
	}
	for _, m := range []*member{lead, alive} {
		wait.For(t, patience, m.cfg.Name+" to know two members", func() bool {
			return len(m.Members()) == 2 && len(m.configured()) == 2
		})
	}
	fresh := lead.join(dead.cfg.Name)
	voters(t, []*member{lead, alive, fresh}, 3)
	dead.again().endsRemoved()
	lead.apply("after")
}

func TestANodeThatIsRemovedWhileItRunsSaysSoAndEnds(t *testing.T) {
	t.Parallel()
	all := three(t)
	lead, rest := leader(t, all)
	runner := rest[0].attachRunner()
	if err := lead.remove(rest[0].NodeID(), false); err != nil {
		t.Fatal(err)
	}
	if lead.runnerState(runner).String() != "STATE_LOST" {
		t.Errorf("its runner is %v", lead.runnerState(runner))
	}
	rest[0].endsRemoved()
	lead.apply("after")
}

func TestALeaderHandsOverBeforeItIsRemoved(t *testing.T) {
	t.Parallel()
	all := three(t)
	lead, rest := leader(t, all)
	if err := lead.remove(lead.NodeID(), false); err != nil {
		t.Fatal(err)
	}
	lead.endsRemoved()
	voters(t, rest, 2)
	rest[0].apply("after")
}

func TestARemovalThatComesAgainGetsTheSameAnswer(t *testing.T) {
	t.Parallel()
	all := three(t)
	lead, rest := leader(t, all)
	request, id := ids.New(), rest[0].NodeID()
	rest[0].crash()
	first, err := lead.RemoveNode(t.Context(), request, lead.userToken(), id, false)
	if err != nil {
		t.Fatal(err)
	}
	again, err := rest[1].RemoveNode(t.Context(), request, lead.userToken(), id, false)
	if err != nil || again < first {
		t.Errorf("the second time: index %d after %d, %v", again, first, err)
	}
	if err := lead.remove(ids.New(), false); err != nil {
		t.Errorf("a node that never was: %v", err)
	}
}

func TestNoRemovalTakesTheQuorumUnlessForced(t *testing.T) {
	t.Parallel()
	all := three(t)
	lead, rest := leader(t, all)
	rest[0].crash()
	wait.For(t, patience, "the leader to miss it", func() bool { return !lead.inContact(rest[0].NodeID(), time.Now()) })
	if err := lead.remove(rest[1].NodeID(), false); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "1 of 2 voters would answer and 2 are needed") {
		t.Errorf("remove one of the two that are left: %v", err)
	}
	if err := rest[1].remove(lead.NodeID(), false); !errs.Is(err, errs.Conflict) {
		t.Errorf("remove the leader: %v", err)
	}
	lead.apply("between")
	if n := len(lead.configured()); n != 3 {
		t.Fatalf("%d servers are left", n)
	}

	done := make(chan error, 1)
	go func() { done <- lead.remove(rest[1].NodeID(), true) }()
	wait.For(t, patience, "the leader to begin", func() bool { return len(lead.configured()) == 2 })
	back := rest[0].again()
	if err := <-done; err != nil {
		t.Fatalf("with force, once the other is back: %v", err)
	}
	voters(t, []*member{lead, back}, 2)
	rest[1].endsRemoved()
}

func TestTheOnlyVoterStays(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	for _, force := range []bool{false, true} {
		if err := a.remove(a.NodeID(), force); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "only voter") {
			t.Errorf("force %v: %v", force, err)
		}
	}
	a.apply("after")
}
