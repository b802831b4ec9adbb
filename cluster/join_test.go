package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waypoint/api/clusterpb"
	"waypoint/cluster/pki"
	"waypoint/errs"
	"waypoint/fsm"
	"waypoint/internal/ids"
	"waypoint/internal/token"
	"waypoint/state"
	"waypoint/version"
)

func TestBootstrapMakesATokenThatTheClusterKnows(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	made, err := Bootstrap(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	a := run(t, cfg).ready()
	key, err := a.TokenKey()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := token.Verify(key, made.UserToken)
	if err != nil {
		t.Fatal(err)
	}
	if signed.GetClusterId() != a.ClusterID() || a.store.Read().Token(signed.GetId()) == nil {
		t.Errorf("the token says %v", signed)
	}
	if made.CAFingerprint != a.CAFingerprint() || made.NodeID != a.NodeID() || made.ClusterID != a.ClusterID() {
		t.Errorf("bootstrap says %+v", made)
	}
}

func TestSecondBootstrapIsRefusedAndHarmsNothing(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := Bootstrap(t.Context(), cfg); !errs.Is(err, errs.AlreadyExists) {
		t.Errorf("second bootstrap: %v", err)
	}
	a := run(t, cfg).ready()
	text := a.joinToken(0)
	a.stop()
	if err := Join(t.Context(), cfg, text); !errs.Is(err, errs.AlreadyExists) {
		t.Errorf("join over data: %v", err)
	}
	a.again().ready()
}

func TestJoinTokenWorksOnce(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	text := a.joinToken(0)
	if err := Join(t.Context(), config(t, "b"), text); err != nil {
		t.Fatal(err)
	}
	c := config(t, "c")
	if err := Join(t.Context(), c, text); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("second use: %v", err)
	}
	// A new token and the same directory do.
	if err := Join(t.Context(), c, a.joinToken(0)); err != nil {
		t.Fatal(err)
	}
}

func TestExpiredJoinTokenIsRefused(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	resp, err := a.CreateJoinToken(t.Context(), ids.At(time.Now().Add(-time.Minute)), a.userToken(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := Join(t.Context(), config(t, "b"), resp.GetText()); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("got %v", err)
	}
}

func TestJoinTokenIsTheSameWhenTheCallIsRetried(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	id := ids.New()
	one, err := a.CreateJoinToken(t.Context(), id, a.userToken(), 0)
	if err != nil {
		t.Fatal(err)
	}
	two, err := a.CreateJoinToken(t.Context(), id, a.userToken(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if one.GetText() != two.GetText() {
		t.Error("the retry made another token")
	}
}

func TestSecretIsNotShownToAnotherCluster(t *testing.T) {
	t.Parallel()
	a, other := first(t, "a"), first(t, "other")
	tok, err := parseJoinToken(a.joinToken(0))
	if err != nil {
		t.Fatal(err)
	}
	tok.Addrs = []string{other.Addr()}
	text, err := tok.encode()
	if err != nil {
		t.Fatal(err)
	}
	err = Join(t.Context(), config(t, "b"), text)
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "fingerprint") || !strings.Contains(err.Error(), other.Addr()) {
		t.Errorf("got %v", err)
	}
}

func TestJoinNamesEveryAddressThatFailed(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	tok, err := parseJoinToken(a.joinToken(0))
	if err != nil {
		t.Fatal(err)
	}
	dead := []string{"127.0.0.1:1", "127.0.0.1:2"}
	tok.Addrs = dead
	text, err := tok.encode()
	if err != nil {
		t.Fatal(err)
	}
	err = Join(t.Context(), config(t, "b"), text)
	for _, addr := range dead {
		if err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s is not named: %v", addr, err)
		}
	}
	// One that answers is enough.
	tok.Addrs = append(dead, a.Addr())
	if text, err = tok.encode(); err != nil {
		t.Fatal(err)
	}
	if err := Join(t.Context(), config(t, "b"), text); err != nil {
		t.Fatal(err)
	}
}

func TestInterruptedJoinGoesOnAsTheSameNode(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	text, cfg := a.joinToken(0), config(t, "b")
	a.lose.Store(true)
	if err := Join(t.Context(), cfg, text); err == nil {
		t.Fatal("joined without an answer")
	}
	if _, err := Open(withState(cfg)); !errs.Is(err, errs.Conflict) {
		t.Errorf("open of half a join: %v", err)
	}
	a.lose.Store(false)
	if err := Join(t.Context(), cfg, text); err != nil {
		t.Fatal(err)
	}
	run(t, cfg).ready()
	if n := len(a.Members()); n != 2 {
		t.Errorf("the cluster has %d members", n)
	}
}

func TestJoinerGetsNoCertificateOfAnotherNode(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	tok, csr := a.joining()
	req := &clusterpb.JoinRequest{TokenId: tok.TokenID, Secret: tok.Secret, Csr: csr,
		Node: &clusterpb.Node{Id: ids.New(), Name: "b", Build: version.Build()}}
	for range 2 { // the answer may have been lost
		if _, err := a.AcceptJoin(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{a.NodeID(), ids.New()} {
		req.Node.Id = id
		if _, err := a.AcceptJoin(t.Context(), req); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("again as node %s: %v", id, err)
		}
	}
}

func TestNonsenseIsNoJoinToken(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "wpj_", "wpj_e30", "wp1_abc", "wpj_!!!"} {
		if err := Join(t.Context(), config(t, "b"), text); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func withState(cfg Config) Config {
	cfg.Store = state.New()
	cfg.FSM = fsm.New(cfg.Store, cfg.Logger)
	return cfg
}

func TestDamagedNodeIsRefused(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	segment := "raft/wal/00000000000000000001-0000000000000000.wal"
	for _, name := range []string{"node.crt", "ca.crt", "root.keyring", "raft/raft.db", segment, "addresses.json"} {
		file := filepath.Join(cfg.DataDir, name)
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(withState(cfg)); err == nil || !strings.Contains(err.Error(), cfg.DataDir) {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(file); string(got) != "damaged" {
			t.Errorf("%s was replaced", name)
		}
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, cfg).ready()
}

// Anybody may ask to join.
func TestStrangersWhoAskToJoinWriteNothing(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	tok, csr := a.joining()
	_, before := a.store.Index()
	const calls = 30
	for i := range calls {
		req := &clusterpb.JoinRequest{
			TokenId: tok.TokenID, Secret: []byte("guessed"), Csr: csr,
			Node: &clusterpb.Node{Id: ids.New(), Name: "b", Build: version.Build()},
		}
		if i%2 == 0 {
			req.TokenId, req.Secret = ids.New(), nil
		}
		if _, err := a.AcceptJoin(t.Context(), req); !errs.Is(err, errs.Unauthenticated) {
			t.Fatalf("got %v", err)
		}
	}
	if _, after := a.store.Index(); after-before >= calls/2 {
		t.Errorf("%d calls were %d log entries", calls, after-before)
	}
	if err := Join(t.Context(), config(t, "b"), a.joinToken(0)); err != nil {
		t.Errorf("the token's holder: %v", err)
	}
}

// joining returns a new join token and the request of whoever wants to join by
// it.
func (m *member) joining() (tok *joinToken, csr []byte) {
	m.t.Helper()
	tok, err := parseJoinToken(m.joinToken(0))
	if err != nil {
		m.t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		m.t.Fatal(err)
	}
	if csr, err = pki.Request(key); err != nil {
		m.t.Fatal(err)
	}
	return tok, csr
}
