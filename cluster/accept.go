package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/api/versionpb"
	"waypoint/cluster/pki"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/protocol"
)

const (
	ulidSize = 26
	maxName  = 63
)

// AcceptJoin lets a node in whose request proves that it was given a join
// token. One command checks the token, uses it up and lists the node; only then
// is anything signed or sent. A request that comes again, because its answer was
// lost, gets the same answer.
func (a *admission) AcceptJoin(ctx context.Context, req *clusterpb.JoinRequest) (*clusterpb.JoinResponse, error) {
	key, keyHash, err := a.checkJoin(req)
	if err != nil {
		return nil, err
	}
	// Without the CA's key this node can let nobody in; the token stays unused.
	ca, err := a.authority()
	if err != nil {
		return nil, err
	}
	serial := pki.Serial([]byte(req.GetTokenId()), keyHash)
	secretHash := sha256.Sum256(req.GetSecret())
	if err := a.checkSecret(ctx, req.GetTokenId(), secretHash[:]); err != nil {
		return nil, err
	}
	joiner := req.GetNode()
	listed, err := a.writes.Apply(ctx, &commandpb.Command{
		RequestId: ids.At(a.time.Now()), TokenId: nodeToken(a.NodeID()),
		Kind: &commandpb.Command_JoinTokenUse{JoinTokenUse: &commandpb.JoinTokenUse{
			TokenId: req.GetTokenId(), SecretHash: secretHash[:], CsrKeyHash: keyHash, Serial: serial.Text(16),
			Node: &clusterpb.Node{
				Id: joiner.GetId(), Name: joiner.GetName(), Serial: serial.Text(16), Build: joiner.GetBuild(),
				Addr: joiner.GetAddr(), GossipAddr: joiner.GetGossipAddr(),
			},
		}},
	})
	if err != nil {
		return nil, err
	}
	// A request that comes again may name another node: that one is not listed,
	// or is somebody else.
	if first := listed.GetIds(); len(first) == 0 || first[0] != joiner.GetId() {
		return nil, errs.New(errs.Unauthenticated, "join: the join token has been used for another node id: make another one")
	}
	cert, err := ca.Sign(key, a.ClusterID(), joiner.GetId(), serial, a.time.Now())
	if err != nil {
		return nil, err
	}
	return a.welcome(cert)
}

// checkJoin refuses what no token could make good.
func (a *admission) checkJoin(req *clusterpb.JoinRequest) (*ecdsa.PublicKey, []byte, error) {
	node := req.GetNode()
	if _, err := ids.Time(node.GetId()); err != nil || len(node.GetId()) != ulidSize {
		return nil, nil, errs.New(errs.Invalid, "join: %q is not a node id", node.GetId())
	}
	if name := node.GetName(); name == "" || len(name) > maxName {
		return nil, nil, errs.New(errs.Invalid, "join: a node's name has 1 to %d bytes, this has %d", maxName, len(name))
	}
	active := a.store.Meta().NodeVersion
	if active == 0 {
		return nil, nil, errs.New(errs.Unavailable, "join: this node has not received the cluster's state yet")
	}
	must := &versionpb.Range{Min: active, Current: active}
	if _, err := protocol.Negotiate(protocol.Node, must, node.GetBuild().GetRanges().GetNode()); err != nil {
		return nil, nil, fmt.Errorf("join: %w", err)
	}
	key, hash, err := pki.CheckRequest(req.GetCsr())
	if err != nil {
		return nil, nil, errs.New(errs.Invalid, "join: %w", err)
	}
	return key, hash, nil
}

// checkSecret refuses who does not hold the secret of any token. The command
// would do so as well; but anybody may ask, and a command costs every node a
// write of its log.
func (a *admission) checkSecret(ctx context.Context, tokenID string, hash []byte) error {
	holds := func() bool {
		return hmac.Equal(a.store.Read().Token(tokenID).GetJoinSecretHash(), hash)
	}
	if holds() {
		return nil
	}
	// The token may be so new that this node has not heard of it.
	if err := a.fresh(ctx); err != nil {
		return err
	}
	if !holds() {
		return errs.New(errs.Unauthenticated, "join: the join token is not known to this cluster: make another one with \"waypoint server join-token\"")
	}
	return nil
}

// authority opens the cluster's CA.
func (a *admission) authority() (*pki.CA, error) {
	cert, err := openSecret(a.store, a.keyring, secretCACert)
	if err != nil {
		return nil, err
	}
	key, err := openSecret(a.store, a.keyring, secretCAKey)
	if err != nil {
		return nil, err
	}
	return pki.LoadCA(cert, key)
}

// welcome is the answer to a node that is listed now.
func (a *admission) welcome(cert []byte) (*clusterpb.JoinResponse, error) {
	gossipKey, err := openSecret(a.store, a.keyring, secretGossip)
	if err != nil {
		return nil, err
	}
	keys, err := a.keyring.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode root keyring: %w", err)
	}
	tx := a.store.Read()
	return &clusterpb.JoinResponse{
		ClusterId: a.ClusterID(), Certificate: cert, Ca: a.identity.CADER,
		RootKeyring: keys, GossipKey: gossipKey,
		Nodes: tx.Nodes(), ActiveNodeVersion: tx.Meta().NodeVersion,
	}, nil
}
