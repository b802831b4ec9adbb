package fsm_test

import (
	"testing"
	"time"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
)

func TestBootstrapHappensOnce(t *testing.T) {
	m := emptyMachine(t)
	m.ok(m.apply(wrap(bootstrapCommand()))[0], "cluster")
	tx := m.store.Read()
	meta := tx.Meta()
	if meta.ClusterID != "cluster" || meta.Epoch != "epoch" || meta.NodeVersion != 1 || meta.Index != 1 || !meta.Time.Equal(m.now) {
		t.Errorf("meta is %+v", meta)
	}
	if string(tx.Secret("ca-key")) != "sealed" || tx.Node("n1").GetJoinedAt() == nil {
		t.Error("the secret or the node is missing")
	}
	if token := tx.Token(userToken); token.GetCreatedBy() != "bootstrap" || !token.GetCreatedAt().AsTime().Equal(m.now) {
		t.Errorf("the token is %v", token)
	}
	second := bootstrapCommand()
	second.ClusterId = "other"
	m.refused(errs.Conflict, m.apply(wrap(second))[0])
	if got := m.store.Read().Meta().ClusterID; got != "cluster" {
		t.Errorf("the cluster is %q now", got)
	}
}

func TestAnIncompleteBootstrapIsRefused(t *testing.T) {
	m := emptyMachine(t)
	m.refused(errs.Invalid, m.apply(wrap(&commandpb.Bootstrap{ClusterId: "c"}))[0])
	bad := bootstrapCommand()
	bad.Token.Kind = authpb.TokenKind_TOKEN_KIND_UNSPECIFIED
	m.refused(errs.Invalid, m.apply(wrap(bad))[0])
	if id := m.store.Read().Meta().ClusterID; id != "" {
		t.Errorf("half of it was kept: the cluster is %q", id)
	}
	m.ok(m.apply(wrap(bootstrapCommand()))[0])
}

func TestTimeNeverFalls(t *testing.T) {
	m := newMachine(t)
	last := m.store.Read().Meta().Time
	m.pass(-time.Second)
	m.ok(m.do(&commandpb.ProjectApply{Name: "p"}))
	if got := m.store.Read().Meta().Time; !got.Equal(last) {
		t.Errorf("the time is %v, was %v", got, last)
	}
	if got := m.store.Read().Project("p").GetCreatedAt().AsTime(); !got.Equal(last) {
		t.Errorf("the project was made at %v", got)
	}
}

func TestTheIndexMovesWithAnEntryOfRefusals(t *testing.T) {
	m := newMachine(t)
	m.refused(errs.Unauthenticated, m.as("unknown", &commandpb.Noop{}))
	if _, index := m.store.Index(); index != m.index {
		t.Errorf("index is %d, want %d", index, m.index)
	}
}

func TestTheNodeVersionNeverFalls(t *testing.T) {
	m := newMachine(t)
	if r := m.lead(&commandpb.NodeVersionRaise{Version: 3}); r.GetVersion() != 3 {
		t.Errorf("result is %v", r)
	}
	r := m.lead(&commandpb.NodeVersionRaise{Version: 2})
	m.unchanged(r)
	if r.GetVersion() != 3 || m.store.Read().Meta().NodeVersion != 3 {
		t.Errorf("the version is %d", r.GetVersion())
	}
}

func TestANodeChangesItsOwnRecordOnly(t *testing.T) {
	m := newMachine(t)
	m.joined("n2", "two")
	own := &clusterpb.Node{Id: "n1", Name: "uno", Addr: "a:1", BootId: "boot2"}
	m.pass(time.Second)
	m.ok(m.as(node1, &commandpb.NodeUpsert{Node: own}), "n1")
	row := m.store.Read().Node("n1")
	if row.GetName() != "uno" || !row.GetBootedAt().AsTime().Equal(m.now) || !row.GetJoinedAt().AsTime().Before(m.now) {
		t.Errorf("the record is %v", row)
	}
	m.pass(time.Second)
	m.unchanged(m.as(node1, &commandpb.NodeUpsert{Node: own}), "n1")
	m.refused(errs.PermissionDenied, m.as(node1, &commandpb.NodeUpsert{Node: &clusterpb.Node{Id: "n2", Name: "two"}}))
	m.refused(errs.PermissionDenied, m.do(&commandpb.NodeUpsert{Node: own}))
	m.refused(errs.AlreadyExists, m.as(node1, &commandpb.NodeUpsert{Node: &clusterpb.Node{Id: "n1", Name: "two"}}))
	m.refused(errs.NotFound, m.lead(&commandpb.NodeUpsert{Node: &clusterpb.Node{Id: "n9", Name: "nine"}}))
	if m.store.Read().NodeByName("one") != nil || m.store.Read().NodeByName("uno") == nil {
		t.Error("the names do not follow")
	}
	if got := m.store.Read().Node("n2").GetSerial(); got != "serial-n2" {
		t.Errorf("the serial of n2 is %q", got)
	}
}

// joined makes a node a member.
func (m *machine) joined(id, name string) {
	m.Helper()
	token := &authpb.Token{Id: "join-" + id, Kind: authpb.TokenKind_TOKEN_KIND_JOIN, JoinSecretHash: []byte("hash")}
	m.ok(m.do(&commandpb.TokenCreate{Token: token}))
	m.ok(m.as(node1, joinOf(id, name, "key-"+id)), id, "serial-"+id)
}

func joinOf(id, name, key string) *commandpb.JoinTokenUse {
	return &commandpb.JoinTokenUse{
		TokenId: "join-" + id, SecretHash: []byte("hash"), CsrKeyHash: []byte(key), Serial: "serial-" + id,
		Node: &clusterpb.Node{Id: id, Name: name},
	}
}

func TestAJoinTokenIsUsedUpByOneKey(t *testing.T) {
	m := newMachine(t)
	m.joined("n2", "two")
	if row := m.store.Read().Node("n2"); row.GetSerial() != "serial-n2" || row.GetJoinedAt() == nil {
		t.Errorf("the node is %v", row)
	}
	again := joinOf("n2", "two", "key-n2")
	again.Serial = "another"
	m.unchanged(m.as(node1, again), "n2", "serial-n2")
	m.refused(errs.Unauthenticated, m.as(node1, joinOf("n2", "two", "another key")))
	m.pass(48 * time.Hour)
	m.unchanged(m.as(node1, again), "n2", "serial-n2")
	m.ok(m.do(&commandpb.NodeRemove{Id: "n2"}))
	m.refused(errs.Unauthenticated, m.as(node1, again))
}

func TestJoinTokensThatDoNotWork(t *testing.T) {
	m := newMachine(t)
	put := func(id string, expires time.Duration) {
		m.ok(m.do(&commandpb.TokenCreate{Token: &authpb.Token{
			Id: "join-" + id, Kind: authpb.TokenKind_TOKEN_KIND_JOIN, JoinSecretHash: []byte("hash"), ExpiresAt: m.stampAt(m.now.Add(expires)),
		}}))
	}
	put("n3", time.Minute)
	put("n4", time.Hour)
	put("n5", time.Hour)
	m.ok(m.do(&commandpb.TokenRevoke{Id: "join-n5"}))
	m.pass(time.Minute)
	m.refused(errs.Unauthenticated, m.as(node1, joinOf("none", "x", "k")))
	m.refused(errs.Unauthenticated, m.as(node1, joinOf("n3", "x", "k")))
	m.refused(errs.Unauthenticated, m.as(node1, joinOf("n5", "x", "k")))
	wrong := joinOf("n4", "x", "k")
	wrong.SecretHash = []byte("guess")
	m.refused(errs.Unauthenticated, m.as(node1, wrong))
	user := joinOf("n4", "x", "k")
	user.TokenId, user.SecretHash = userToken, nil
	m.refused(errs.Unauthenticated, m.as(node1, user))
	m.refused(errs.Invalid, m.as(node1, joinOf("n4", "x", "")))
	m.refused(errs.AlreadyExists, m.as(node1, joinOf("n4", "one", "k")))
	m.ok(m.as(node1, joinOf("n4", "four", "k")))
}

func TestNodeLostMarksTheRowsOfThatBoot(t *testing.T) {
	m := newShop(t)
	m.joined("n2", "two")
	m.deployed("d1")
	put := func(id, node, boot string) {
		m.ok(m.as("node:"+node, &commandpb.InstanceAttach{Instance: &deploymentpb.Instance{
			Id: id, DeploymentId: "d1", NodeId: node, NodeBoot: boot, Generation: 1,
		}}))
		m.ok(m.as("node:"+node, &commandpb.RunnerAttach{Runner: &runnerpb.Runner{
			Id: "r" + id, NodeId: node, NodeBoot: boot, Generation: 1,
		}}))
	}
	put("i1", "n1", "old")
	put("i2", "n1", "boot1")
	put("i3", "n2", "old")
	m.ok(m.as(node1, &commandpb.InstanceUpdate{Id: "i2", NodeId: "n1", NodeBoot: "boot1", Generation: 1,
		State: deploymentpb.InstanceState_INSTANCE_STATE_DETACHED}))
	m.refused(errs.PermissionDenied, m.as(node1, &commandpb.NodeLost{NodeId: "n2", BootId: "old"}))
	m.ok(m.as(node1, &commandpb.NodeLost{NodeId: "n1", BootId: "boot1", OtherBoots: true}), "i1", "ri1")
	m.ok(m.lead(&commandpb.NodeLost{NodeId: "n1", BootId: "boot1"}), "ri2")
	m.unchanged(m.lead(&commandpb.NodeLost{NodeId: "n2", BootId: "none"}))
	tx := m.store.Read()
	if got := tx.Instance("i1").GetState(); got != deploymentpb.InstanceState_INSTANCE_STATE_LOST {
		t.Errorf("i1 is %v", got)
	}
	if got := tx.Instance("i2").GetState(); got != deploymentpb.InstanceState_INSTANCE_STATE_DETACHED {
		t.Errorf("i2 is %v", got)
	}
	if tx.Instance("i3").GetState() != deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED ||
		tx.Runner("ri3").GetState() != runnerpb.State_STATE_ATTACHED {
		t.Error("what another node holds was marked")
	}
	m.ok(m.do(&commandpb.NodeRemove{Id: "n2"}))
	if got := m.store.Read().Instance("i3").GetState(); got != deploymentpb.InstanceState_INSTANCE_STATE_LOST {
		t.Errorf("i3 of a removed node is %v", got)
	}
}

func TestTokens(t *testing.T) {
	m := newMachine(t)
	m.ok(m.do(&commandpb.TokenCreate{Token: &authpb.Token{Id: "x", Kind: authpb.TokenKind_TOKEN_KIND_USER, RevokedAt: m.stamp()}}), "x")
	row := m.store.Read().Token("x")
	if row.GetCreatedBy() != userToken || row.GetRevokedAt() != nil {
		t.Errorf("the token is %v", row)
	}
	m.refused(errs.AlreadyExists, m.do(&commandpb.TokenCreate{Token: &authpb.Token{Id: "x", Kind: authpb.TokenKind_TOKEN_KIND_USER}}))
	m.refused(errs.Invalid, m.do(&commandpb.TokenCreate{}))
	m.refused(errs.PermissionDenied, m.as(runnerToken, &commandpb.TokenCreate{Token: &authpb.Token{Id: "y", Kind: authpb.TokenKind_TOKEN_KIND_USER}}))
	m.refused(errs.PermissionDenied, m.as(runnerToken, &commandpb.TokenRevoke{Id: "x"}))
	m.ok(m.do(&commandpb.TokenRevoke{Id: "x"}), "x")
	m.unchanged(m.do(&commandpb.TokenRevoke{Id: "x"}), "x")
	m.refused(errs.NotFound, m.do(&commandpb.TokenRevoke{Id: "none"}))
}
