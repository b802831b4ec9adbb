package pki

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"waypoint/internal/clock"
)

// The two protocols of the shared port, as ALPN names them.
const (
	ALPNGRPC = "h2"
	ALPNRaft = "waypoint-raft"
)

// Identity is what a node has to show and what it trusts.
type Identity struct {
	ClusterID string
	NodeID    string
	CADER     []byte

	cert tls.Certificate
	pool *x509.CertPool
}

// NewIdentity checks that certificate, key and CA belong together and are this
// node's of this cluster.
func NewIdentity(clusterID, nodeID string, certDER, caDER []byte, key *ecdsa.PrivateKey) (*Identity, error) {
	leaf, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("read node certificate: %w", err)
	}
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("node certificate and node key do not belong together")
	}
	if id, ok := NodeID(leaf, clusterID); !ok || id != nodeID {
		return nil, fmt.Errorf("the node certificate is not that of node %s of cluster %s", nodeID, clusterID)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: pool, DNSName: ServerName(clusterID), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: clock.Now(),
	})
	if err != nil {
		return nil, fmt.Errorf("check node certificate: %w", err)
	}
	return &Identity{
		ClusterID: clusterID, NodeID: nodeID, CADER: caDER, pool: pool,
		// The CA goes with the chain so that clients need only its fingerprint.
		cert: tls.Certificate{Certificate: [][]byte{certDER, caDER}, PrivateKey: key, Leaf: leaf},
	}, nil
}

// Server returns the configuration of the shared port. A client certificate is
// not needed, but one that is shown must be the CA's.
func (i *Identity) Server() *tls.Config {
	return &tls.Config{
		Time:                   clock.Now,
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{i.cert},
		ClientAuth:             tls.VerifyClientCertIfGiven,
		ClientCAs:              i.pool,
		NextProtos:             []string{ALPNGRPC, ALPNRaft},
		SessionTicketsDisabled: true,
	}
}

// Client returns the configuration to call the node of that id, and no other.
func (i *Identity) Client(nodeID, alpn string) *tls.Config {
	return &tls.Config{
		Time:         clock.Now,
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{i.cert},
		RootCAs:      i.pool,
		ServerName:   ServerName(i.ClusterID),
		NextProtos:   []string{alpn},
		VerifyConnection: func(state tls.ConnectionState) error {
			id, ok := i.Peer(state)
			if !ok || id != nodeID {
				return fmt.Errorf("the certificate shown is not that of node %s", nodeID)
			}
			return nil
		},
	}
}

// Peer returns the id of the node that holds a connection's verified
// certificate.
func (i *Identity) Peer(state tls.ConnectionState) (nodeID string, ok bool) {
	if len(state.VerifiedChains) == 0 {
		return "", false
	}
	return NodeID(state.VerifiedChains[0][0], i.ClusterID)
}

// Pinned returns the client configuration of one who knows nothing but the
// cluster's id and its CA's fingerprint. The check is part of the handshake:
// nothing is sent to a server that fails it.
func Pinned(clusterID, fingerprint string) (*tls.Config, error) {
	want, err := hex.DecodeString(strings.TrimPrefix(fingerprint, "sha256:"))
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("%q is not the fingerprint of a CA", fingerprint)
	}
	return &tls.Config{
		Time:               clock.Now,
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{ALPNGRPC},
		ServerName:         ServerName(clusterID),
		InsecureSkipVerify: true, // VerifyConnection does it, with the CA from the chain
		VerifyConnection: func(state tls.ConnectionState) error {
			return verifyPinned(state, clusterID, [sha256.Size]byte(want))
		},
	}, nil
}

func verifyPinned(state tls.ConnectionState, clusterID string, want [sha256.Size]byte) error {
	pool, found := x509.NewCertPool(), false
	for _, cert := range state.PeerCertificates {
		if sha256.Sum256(cert.Raw) == want {
			pool.AddCert(cert)
			found = true
		}
	}
	if !found {
		return fmt.Errorf("the server's CA is not the one with fingerprint sha256:%x", want)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: pool, DNSName: ServerName(clusterID), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CurrentTime: clock.Now(),
	})
	if err != nil {
		return fmt.Errorf("the server is not a node of cluster %s: %w", clusterID, err)
	}
	return nil
}
