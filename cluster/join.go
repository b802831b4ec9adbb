package cluster

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"waypoint/api/clusterpb"
	"waypoint/cluster/datadir"
	"waypoint/cluster/pki"
	"waypoint/cluster/raftstore"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/seal"
	"waypoint/protocol"
)

// joinLimit bounds the call to one address of a join token.
const joinLimit = 15 * time.Second

// Join makes the empty data directory that of a new member: it asks the
// addresses of the token in turn, each only after it has proved to belong to the
// token's cluster. A join that was interrupted and is run again with the same
// token goes on as the same node. A directory that holds a node is refused with
// the kind AlreadyExists; a token that the cluster refuses, with the cluster's
// error.
func Join(ctx context.Context, cfg Config, text string) error {
	if err := cfg.setDefaults(); err != nil {
		return fmt.Errorf("join cluster: %w", err)
	}
	t, err := parseJoinToken(text)
	if err != nil {
		return fmt.Errorf("join cluster: %w", err)
	}
	dir, err := datadir.Create(cfg.DataDir)
	if err != nil {
		return fmt.Errorf("join cluster: %w", err)
	}
	if err := errors.Join(enter(ctx, &cfg, dir, t), dir.Close()); err != nil {
		return fmt.Errorf("join cluster: %w", err)
	}
	return nil
}

func enter(ctx context.Context, cfg *Config, dir *datadir.Dir, t *joinToken) error {
	nodeID, key, err := joinIdentity(dir, t.TokenID)
	if err != nil {
		return err
	}
	csr, err := pki.Request(key)
	if err != nil {
		return err
	}
	answer, err := ask(ctx, cfg, t, &clusterpb.JoinRequest{
		TokenId: t.TokenID, Secret: t.Secret, Csr: csr,
		Node: &clusterpb.Node{
			Id: nodeID, Name: cfg.Name, Addr: cfg.AdvertiseAddr, GossipAddr: cfg.GossipAdvertise, Build: cfg.Build,
		},
	})
	if err != nil {
		return err
	}
	m, err := checkAnswer(answer, t, nodeID, key)
	if err != nil {
		return err
	}
	m.Node.Name = cfg.Name
	addrs := &datadir.Addresses{Configured: cfg.configured(), Seeds: t.Addrs}
	for _, n := range answer.GetNodes() {
		if n.GetId() != nodeID {
			addrs.Peers = append(addrs.Peers, datadir.Peer{ID: n.GetId(), Addr: n.GetAddr(), GossipAddr: n.GetGossipAddr()})
		}
	}
	if err := dir.SaveAddresses(addrs); err != nil {
		return err
	}
	if err := emptyLog(cfg, dir); err != nil {
		return err
	}
	return dir.Save(m)
}

// emptyLog makes Raft's stores, so that a start that finds none knows them lost.
func emptyLog(cfg *Config, dir *datadir.Dir) error {
	tune, err := cfg.tuning()
	if err != nil {
		return err
	}
	guard := raftstore.NewGuard(tune.Disk, func(err error) { cfg.Logger.Error("join failed", "error", err) })
	if err := os.RemoveAll(dir.Raft()); err != nil { // of a try that was interrupted; this node never ran
		return fmt.Errorf("remove what an interrupted join left: %w", err)
	}
	stores, err := raftstore.Open(dir.Raft(), raftstore.Options{Create: true, Kind: cfg.LogStore, Guard: guard, Logger: cfg.Logger})
	if err != nil {
		return err
	}
	return stores.Close()
}

// joinIdentity returns the new node's id and key: those of an interrupted join
// with the same token if there was one, since the cluster may have listed that
// node already.
func joinIdentity(dir *datadir.Dir, tokenID string) (string, *ecdsa.PrivateKey, error) {
	pending, err := dir.Pending()
	if err != nil {
		return "", nil, err
	}
	if pending != nil && pending.Operation == "join" && pending.TokenID == tokenID {
		if der, err := dir.PendingKey(); err == nil {
			if key, err := pki.ParseKey(der); err == nil {
				return pending.NodeID, key, nil
			}
		}
	}
	key, err := pki.NewKey()
	if err != nil {
		return "", nil, fmt.Errorf("make node key: %w", err)
	}
	der, err := pki.MarshalKey(key)
	if err != nil {
		return "", nil, fmt.Errorf("make node key: %w", err)
	}
	nodeID := ids.New()
	if err := dir.Begin(datadir.Pending{Operation: "join", NodeID: nodeID, TokenID: tokenID}); err != nil {
		return "", nil, err
	}
	return nodeID, key, dir.SaveKey(der)
}

// ask tries the token's addresses until one answers. A refusal is an answer.
func ask(ctx context.Context, cfg *Config, t *joinToken, req *clusterpb.JoinRequest) (*clusterpb.JoinResponse, error) {
	tlsConfig, err := pki.Pinned(t.ClusterID, t.Fingerprint)
	if err != nil {
		return nil, errs.New(errs.Invalid, "read join token: %w", err)
	}
	ctx = metadata.AppendToOutgoingContext(ctx,
		protocol.HeaderRanges, protocol.EncodeRanges(cfg.Build.GetRanges()),
		protocol.HeaderRequestID, ids.New())
	var failed []string
	for _, addr := range t.Addrs {
		answer, err := askOne(ctx, addr, credentials.NewTLS(tlsConfig), req)
		switch errs.KindOf(err) {
		case 0:
			return answer, nil
		case errs.Unauthenticated, errs.PermissionDenied, errs.Invalid, errs.AlreadyExists, errs.Conflict, errs.Protocol, errs.NotFound:
			return nil, err
		}
		cfg.Logger.Warn("cannot join here", "addr", addr, "error", err)
		failed = append(failed, addr+": "+err.Error())
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errs.New(errs.Unavailable, "no server of the token could let this node in: %s", strings.Join(failed, "; "))
}

func askOne(ctx context.Context, addr string, creds credentials.TransportCredentials, req *clusterpb.JoinRequest) (*clusterpb.JoinResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds), grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, err := clusterpb.NewClusterClient(conn).Join(ctx, req)
	return answer, errs.FromStatus(err)
}

// checkAnswer makes sure that what the cluster sent fits together before any of
// it is kept.
func checkAnswer(answer *clusterpb.JoinResponse, t *joinToken, nodeID string, key *ecdsa.PrivateKey) (*datadir.Material, error) {
	if answer.GetClusterId() != t.ClusterID {
		return nil, errs.New(errs.Internal, "the server answered for cluster %s, the token is for %s", answer.GetClusterId(), t.ClusterID)
	}
	if got := pki.Fingerprint(answer.GetCa()); got != t.Fingerprint {
		return nil, errs.New(errs.Internal, "the server sent the CA %s, the token names %s", got, t.Fingerprint)
	}
	if _, err := pki.NewIdentity(t.ClusterID, nodeID, answer.GetCertificate(), answer.GetCa(), key); err != nil {
		return nil, fmt.Errorf("check the server's answer: %w", err)
	}
	keyring, err := seal.Parse(answer.GetRootKeyring())
	if err != nil {
		return nil, fmt.Errorf("check the server's answer: %w", err)
	}
	if n := len(answer.GetGossipKey()); n != datadir.GossipKeySize {
		return nil, errs.New(errs.Internal, "the server sent a gossip key of %d bytes instead of %d", n, datadir.GossipKeySize)
	}
	der, err := pki.MarshalKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode node key: %w", err)
	}
	return &datadir.Material{
		Node: datadir.Node{ClusterID: t.ClusterID, NodeID: nodeID},
		Key:  der, Cert: answer.GetCertificate(), CA: answer.GetCa(),
		Keyring: keyring, GossipKey: answer.GetGossipKey(),
	}, nil
}
