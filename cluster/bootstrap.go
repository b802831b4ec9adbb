package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/cluster/datadir"
	"waypoint/cluster/pki"
	"waypoint/cluster/raftnet"
	"waypoint/cluster/raftstore"
	"waypoint/internal/clock"
	"waypoint/internal/ids"
	"waypoint/internal/seal"
	"waypoint/internal/token"
)

// tokenKeySize is the size of the key that signs tokens, in bytes.
const tokenKeySize = 32

// Bootstrapped is what the operator of a new cluster must know.
type Bootstrapped struct {
	ClusterID     string
	NodeID        string
	CAFingerprint string // "sha256:<hex>"
	UserToken     string // shown once; it is stored nowhere
}

// Bootstrap makes a new cluster of one node in an empty data directory: CA,
// keys, certificate, and a Raft log whose first command is Bootstrap. One that
// was interrupted is done again from the start. It refuses a directory that
// holds a node, with the kind AlreadyExists.
func Bootstrap(ctx context.Context, cfg Config) (*Bootstrapped, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	dir, err := datadir.Create(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	out, err := found(ctx, &cfg, dir, clock.Now())
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return out, nil
}

// found makes the cluster in dir.
func found(ctx context.Context, cfg *Config, dir *datadir.Dir, now time.Time) (*Bootstrapped, error) {
	clusterID, nodeID := ids.At(now), ids.At(now)
	if err := dir.Begin(datadir.Pending{Operation: "bootstrap", NodeID: nodeID}); err != nil {
		return nil, err
	}
	ca, err := pki.NewCA(clusterID, now)
	if err != nil {
		return nil, err
	}
	m := &datadir.Material{
		Node:      datadir.Node{ClusterID: clusterID, NodeID: nodeID, Name: cfg.Name},
		CA:        ca.DER,
		Keyring:   seal.New(),
		GossipKey: random(datadir.GossipKeySize),
	}
	node := &clusterpb.Node{
		Id: nodeID, Name: cfg.Name, Addr: cfg.AdvertiseAddr, GossipAddr: cfg.GossipAdvertise, Build: cfg.Build,
	}
	if node.Serial, err = certify(ca, m, now); err != nil {
		return nil, err
	}
	user := &authpb.Token{
		Id: ids.At(now), Kind: authpb.TokenKind_TOKEN_KIND_USER, Subject: "admin",
		Description: "made when the cluster was bootstrapped",
		CreatedAt:   timestamppb.New(now), CreatedBy: "bootstrap",
	}
	tokenKey := random(tokenKeySize)
	cmd, err := bootstrapCommand(cfg, m, ca, tokenKey, node, user)
	if err != nil {
		return nil, err
	}
	if err := firstLog(cfg, dir, nodeID, cmd, now); err != nil {
		return nil, err
	}
	if err := dir.SaveAddresses(&datadir.Addresses{Configured: cfg.configured()}); err != nil {
		return nil, err
	}
	// Until here nothing counts; this makes the directory a node.
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := dir.Save(m); err != nil {
		return nil, err
	}
	return &Bootstrapped{
		ClusterID: clusterID, NodeID: nodeID, CAFingerprint: pki.Fingerprint(ca.DER),
		UserToken: token.Sign(tokenKey, &authpb.SignedToken{
			ClusterId: clusterID, Id: user.Id, Kind: user.Kind, Subject: user.Subject,
		}),
	}, nil
}

// certify makes the first node's key and certificate.
func certify(ca *pki.CA, m *datadir.Material, now time.Time) (serial string, err error) {
	key, err := pki.NewKey()
	if err != nil {
		return "", fmt.Errorf("make node key: %w", err)
	}
	if m.Key, err = pki.MarshalKey(key); err != nil {
		return "", fmt.Errorf("make node key: %w", err)
	}
	number := pki.Serial([]byte(m.Node.NodeID))
	m.Cert, err = ca.Sign(&key.PublicKey, m.Node.ClusterID, m.Node.NodeID, number, now)
	return number.Text(16), err
}

func bootstrapCommand(cfg *Config, m *datadir.Material, ca *pki.CA, tokenKey []byte, node *clusterpb.Node, user *authpb.Token) (*commandpb.Command, error) {
	caKey, err := ca.KeyDER()
	if err != nil {
		return nil, fmt.Errorf("encode CA key: %w", err)
	}
	boot := &commandpb.Bootstrap{
		ClusterId: m.Node.ClusterID, Epoch: ids.New(), Node: node, Token: user,
		NodeVersion: cfg.Build.GetRanges().GetNode().GetCurrent(),
	}
	for name, value := range map[string][]byte{
		secretCAKey: caKey, secretCACert: ca.DER, secretGossip: m.GossipKey, secretTokenKey: tokenKey,
	} {
		secret, err := sealSecret(m.Keyring, name, value)
		if err != nil {
			return nil, err
		}
		boot.Secrets = append(boot.Secrets, secret)
	}
	return &commandpb.Command{
		RequestId: ids.At(clock.Now()), TokenId: nodeToken(node.Id),
		Kind: &commandpb.Command_Bootstrap{Bootstrap: boot},
	}, nil
}

// firstLog writes the Raft log of a one-node cluster: the configuration, and
// behind it the Bootstrap command as if term 1's leader had appended it. The
// node applies it like any other when it first becomes leader.
func firstLog(cfg *Config, dir *datadir.Dir, nodeID string, cmd *commandpb.Command, now time.Time) error {
	tune, err := cfg.tuning()
	if err != nil {
		return err
	}
	guard := raftstore.NewGuard(tune.Disk, func(err error) { cfg.Logger.Error("bootstrap failed", "error", err) })
	stores, err := raftstore.Open(dir.Raft(), raftstore.Options{Create: true, Kind: cfg.LogStore, Guard: guard, Logger: cfg.Logger})
	if err != nil {
		return err
	}
	data, err := proto.Marshal(&commandpb.Entry{Time: now.UnixNano(), Commands: []*commandpb.Command{cmd}})
	if err != nil {
		return errors.Join(fmt.Errorf("encode bootstrap command: %w", err), stores.Close())
	}
	_, trans := raft.NewInmemTransport(raft.ServerAddress(nodeID)) // BootstrapCluster wants one, and sends nothing
	err = raft.BootstrapCluster(raftConfig(cfg.Logger, tune, nodeID, nil), stores.Log, stores.Stable, stores.Snapshots, trans,
		raft.Configuration{Servers: []raft.Server{raftnet.Server(nodeID, raft.Voter)}})
	if err == nil {
		err = stores.Log.StoreLog(&raft.Log{Index: 2, Term: 1, Type: raft.LogCommand, Data: data})
	}
	return errors.Join(err, stores.Close())
}

func random(size int) []byte {
	b := make([]byte, size)
	rand.Read(b) // never fails: the runtime ends the process instead
	return b
}

// nodeToken is what stands for a token in a node's own commands.
func nodeToken(nodeID string) string { return "node:" + nodeID }
