// Package rpctest gives tests of services a whole node in memory: a real state
// and state machine, the real server with its interceptors over TLS, and
// connections as any caller. In place of Raft, commands are applied one after
// the other. It is for tests only.
package rpctest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/fsm"
	"waypoint/internal/ids"
	"waypoint/internal/seal"
	"waypoint/internal/token"
	"waypoint/rpc/read"
	"waypoint/state"
	"waypoint/version"
)

// term is that of every entry.
const term = 1

// Fixture is one node in memory. It is an Applier and a read.Freshener.
type Fixture struct {
	Store     *state.Store
	FSM       *fsm.FSM
	Keyring   *seal.Keyring
	ClusterID string
	NodeID    string
	BootID    string
	CA        *Authority
	Logger    hclog.Logger
	// User is the text of a user token, the bootstrap one.
	User string

	t        testing.TB
	tokenKey []byte
	mu       sync.Mutex
	index    uint64
	last     time.Time
	fresh    func(context.Context) error
	applied  func(*commandpb.Command) error
}

// New returns a bootstrapped node.
func New(t testing.TB) *Fixture {
	t.Helper()
	logger := hclog.New(&hclog.LoggerOptions{Name: "test", Output: hclog.DefaultOutput, Level: hclog.Error})
	store := state.New()
	f := &Fixture{
		Store:     store,
		FSM:       fsm.New(store, logger),
		Keyring:   seal.New(),
		ClusterID: ids.New(),
		NodeID:    ids.New(),
		BootID:    ids.New(),
		Logger:    logger,
		t:         t,
		tokenKey:  make([]byte, 32),
	}
	_, _ = rand.Read(f.tokenKey)
	f.CA = newAuthority(t, f)
	f.bootstrap()
	return f
}

func (f *Fixture) bootstrap() {
	f.t.Helper()
	sealed, err := f.Keyring.Seal(f.tokenKey, []byte("secret/token-key"), "token-key")
	if err != nil {
		f.t.Fatalf("seal token key: %v", err)
	}
	first := &authpb.Token{Id: ids.New(), Kind: authpb.TokenKind_TOKEN_KIND_USER, Subject: "admin", CreatedBy: "bootstrap"}
	f.mustApply(&commandpb.Command{
		RequestId: ids.New(),
		TokenId:   "node:" + f.NodeID,
		Kind: &commandpb.Command_Bootstrap{Bootstrap: &commandpb.Bootstrap{
			ClusterId:   f.ClusterID,
			Epoch:       ids.New(),
			Node:        f.node(f.NodeID, "test"),
			Secrets:     []*commandpb.Secret{{Name: "token-key", Sealed: sealed}},
			Token:       first,
			NodeVersion: 1,
		}},
	})
	f.User = f.text(first)
}

func (f *Fixture) node(id, name string) *clusterpb.Node {
	return &clusterpb.Node{
		Id: id, Name: name, Serial: "01", Addr: "127.0.0.1:9701", GossipAddr: "127.0.0.1:9703",
		Build: version.Build(), BootId: f.BootID,
	}
}

// join lists a further node, the way a joining one is listed.
func (f *Fixture) join(nodeID string) {
	f.t.Helper()
	secret := sha256.Sum256([]byte(nodeID))
	row := &authpb.Token{Id: ids.New(), Kind: authpb.TokenKind_TOKEN_KIND_JOIN, JoinSecretHash: secret[:]}
	f.Do(&commandpb.Command_TokenCreate{TokenCreate: &commandpb.TokenCreate{Token: row}})
	node := f.node(nodeID, "node-"+nodeID)
	node.Addr, node.GossipAddr = nodeID+":9701", nodeID+":9703"
	f.Do(&commandpb.Command_JoinTokenUse{JoinTokenUse: &commandpb.JoinTokenUse{
		TokenId: row.GetId(), SecretHash: secret[:], CsrKeyHash: secret[:], Serial: nodeID, Node: node,
	}})
}

// TB returns the test that the fixture belongs to.
func (f *Fixture) TB() testing.TB { return f.t }

// TokenKey returns the key that tokens are signed with.
func (f *Fixture) TokenKey() ([]byte, error) { return f.tokenKey, nil }

// Servers returns the addresses of the cluster: this node's.
func (f *Fixture) Servers() []string { return []string{"127.0.0.1:9701"} }

// CAFingerprint returns the fingerprint of the cluster's CA.
func (f *Fixture) CAFingerprint() string {
	sum := sha256.Sum256(f.CA.cert.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Reader returns a reader of the state.
func (f *Fixture) Reader() *read.Reader { return read.New(f.Store, f) }

// Apply applies a command as an entry of its own.
func (f *Fixture) Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.applied != nil {
		if err := f.applied(cmd); err != nil {
			return nil, err
		}
	}
	return f.applyLocked(cmd)
}

// applyLocked does what Raft would: it stamps a time that never goes back,
// encodes the entry and hands it to the state machine under the next index.
func (f *Fixture) applyLocked(cmd *commandpb.Command) (*commandpb.Result, error) {
	f.index++
	if now := time.Now(); now.After(f.last) {
		f.last = now
	}
	data, err := proto.Marshal(&commandpb.Entry{Time: f.last.UnixNano(), Commands: []*commandpb.Command{cmd}})
	if err != nil {
		return nil, err
	}
	answer := f.FSM.Apply(&raft.Log{Index: f.index, Term: term, Type: raft.LogCommand, Data: data})
	results, ok := answer.([]*commandpb.Result)
	if !ok || len(results) != 1 {
		return nil, errs.New(errs.Internal, "state machine answered %T %v to one command", answer, answer)
	}
	result := proto.Clone(results[0]).(*commandpb.Result)
	result.Index = f.index
	return result, errs.FromProto(result.GetError())
}

func (f *Fixture) mustApply(cmd *commandpb.Command) *commandpb.Result {
	f.t.Helper()
	result, err := f.Apply(f.t.Context(), cmd)
	if err != nil {
		f.t.Fatalf("apply %T: %v", cmd.GetKind(), err)
	}
	return result
}

// Do applies a command as this node, with a request id of its own, and ends the
// test if it is refused.
func (f *Fixture) Do(kind commandpb.Kind) *commandpb.Result {
	f.t.Helper()
	return f.mustApply(&commandpb.Command{RequestId: ids.New(), TokenId: "node:" + f.NodeID, Kind: kind})
}

// Lead is Do for the commands that only tasks of the leader may send.
func (f *Fixture) Lead(kind commandpb.Kind) *commandpb.Result {
	f.t.Helper()
	return f.mustApply(&commandpb.Command{Term: term, Kind: kind})
}

// Leader applies commands as a task of the leader.
type Leader struct{ fixture *Fixture }

// Leader returns what leader tasks apply their commands with.
func (f *Fixture) Leader() *Leader { return &Leader{fixture: f} }

// Term returns the leader's term.
func (l *Leader) Term() uint64 { return term }

// Apply applies a command under the leader's term.
func (l *Leader) Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error) {
	stamped := proto.CloneOf(cmd)
	stamped.Term = term
	return l.fixture.Apply(ctx, stamped)
}

// OnApply calls hook with each command before it is applied; an error of it is
// the command's. Nil removes it.
func (f *Fixture) OnApply(hook func(*commandpb.Command) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied = hook
}

// Fresh answers that the state is current, or what OnFresh was given says.
func (f *Fixture) Fresh(ctx context.Context) error {
	f.mu.Lock()
	hook := f.fresh
	f.mu.Unlock()
	if hook != nil {
		return hook(ctx)
	}
	return ctx.Err()
}

// OnFresh makes hook answer Fresh, for example with the lack of a quorum.
func (f *Fixture) OnFresh(hook func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fresh = hook
}

// Token makes a token of a kind and returns its record and text. Subject is a
// deployment's id for entrypoint tokens.
func (f *Fixture) Token(kind authpb.TokenKind, subject string) (*authpb.Token, string) {
	f.t.Helper()
	return f.TokenUntil(kind, subject, time.Time{})
}

// TokenUntil is Token with an expiry; the zero time is none.
func (f *Fixture) TokenUntil(kind authpb.TokenKind, subject string, expires time.Time) (*authpb.Token, string) {
	f.t.Helper()
	row := &authpb.Token{Id: ids.New(), Kind: kind, Subject: subject, CreatedBy: "bootstrap"}
	if !expires.IsZero() {
		row.ExpiresAt = timestamppb.New(expires)
	}
	f.Do(&commandpb.Command_TokenCreate{TokenCreate: &commandpb.TokenCreate{Token: row}})
	return row, f.text(row)
}

// Revoke revokes a token.
func (f *Fixture) Revoke(id string) {
	f.t.Helper()
	f.Do(&commandpb.Command_TokenRevoke{TokenRevoke: &commandpb.TokenRevoke{Id: id}})
}

// text signs the text of a token.
func (f *Fixture) text(row *authpb.Token) string {
	signed := &authpb.SignedToken{ClusterId: f.ClusterID, Id: row.GetId(), Kind: row.GetKind(), Subject: row.GetSubject()}
	if row.GetExpiresAt() != nil {
		signed.ExpiresUnix = row.GetExpiresAt().GetSeconds()
	}
	return token.Sign(f.tokenKey, signed)
}
