// Package pki is the cluster's certificate authority and its TLS: who may sign,
// what a node's certificate says, how each side checks the other, and the one
// port that gRPC and Raft share. It must not know membership, Raft or gossip.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"
)

const (
	// caLifetime and nodeLifetime are long because nothing renews certificates
	// yet: a node that is replaced gets a new one.
	caLifetime   = 30 * 365 * 24 * time.Hour
	nodeLifetime = 10 * 365 * 24 * time.Hour
	// backdate lets nodes and clients work whose clocks are behind, even by years,
	// as that of a machine without a battery is. It tells nobody anything: what
	// this CA signs is trusted by its own cluster alone, and by membership.
	backdate = 10 * 365 * 24 * time.Hour
	// maxRequest bounds a certificate request in bytes. Ours have about 200.
	maxRequest = 16 << 10
)

// NewKey makes a key for a CA or a node.
func NewKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// Fingerprint returns "sha256:" and the hex SHA-256 of a certificate in DER.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ServerName is the name that every node's certificate bears. Clients check it
// instead of a host name, so that addresses may change.
func ServerName(clusterID string) string { return "server." + strings.ToLower(clusterID) }

func nodeURI(clusterID, nodeID string) *url.URL {
	return &url.URL{Scheme: "waypoint", Host: clusterID, Path: "/node/" + nodeID}
}

// NodeID returns the node id that a certificate of this cluster bears. It says
// nothing about who signed it.
func NodeID(cert *x509.Certificate, clusterID string) (string, bool) {
	if len(cert.URIs) != 1 {
		return "", false
	}
	uri := cert.URIs[0]
	id, ok := strings.CutPrefix(uri.Path, "/node/")
	if !ok || id == "" || uri.Scheme != "waypoint" || uri.Host != clusterID {
		return "", false
	}
	return id, true
}

// CA signs node certificates.
type CA struct {
	DER  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes the authority of a new cluster.
func NewCA(clusterID string, now time.Time) (*CA, error) {
	key, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Waypoint cluster " + clusterID},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	return &CA{DER: der, cert: cert, key: key}, nil
}

// LoadCA returns the authority whose certificate and key are given in DER.
func LoadCA(certDER, keyDER []byte) (*CA, error) {
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	key, err := ParseKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("read CA key: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("read CA: certificate and key do not belong together")
	}
	return &CA{DER: certDER, cert: cert, key: key}, nil
}

// KeyDER returns the CA's private key.
func (c *CA) KeyDER() ([]byte, error) { return MarshalKey(c.key) }

// ParseKey reads a private key that MarshalKey wrote.
func ParseKey(der []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a key of type %T is of no use here", parsed)
	}
	return key, nil
}

// MarshalKey returns a private key as PKCS #8 DER.
func MarshalKey(key *ecdsa.PrivateKey) ([]byte, error) { return x509.MarshalPKCS8PrivateKey(key) }

// Request returns a node's certificate request in DER. It proves that the
// sender holds the key; who the node is, is said beside it.
func Request(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// CheckRequest returns a request's public key, and that key's SHA-256. Anybody
// may send a request: nothing is computed with a key that is not of the one kind,
// since a large one of another kind takes long.
func CheckRequest(csr []byte) (key *ecdsa.PublicKey, hash []byte, err error) {
	if len(csr) > maxRequest {
		return nil, nil, fmt.Errorf("read certificate request: it has %d bytes, at most %d are read", len(csr), maxRequest)
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, nil, fmt.Errorf("read certificate request: %w", err)
	}
	key, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, nil, errors.New("check certificate request: the key must be ECDSA on P-256")
	}
	if err := req.CheckSignature(); err != nil {
		return nil, nil, fmt.Errorf("check certificate request: %w", err)
	}
	sum := sha256.Sum256(req.RawSubjectPublicKeyInfo)
	return key, sum[:], nil
}

// Sign returns a node's certificate in DER.
func (c *CA) Sign(key *ecdsa.PublicKey, clusterID, nodeID string, serial *big.Int, now time.Time) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Waypoint node " + nodeID},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(nodeLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     []string{ServerName(clusterID)},
		URIs:         []*url.URL{nodeURI(clusterID, nodeID)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key, c.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of node %s: %w", nodeID, err)
	}
	return der, nil
}

// Serial derives a certificate's serial number from what it is made for, so
// that the same request asked twice gets the same number. It is positive.
func Serial(parts ...[]byte) *big.Int {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	sum := h.Sum(nil)[:16]
	sum[0] = sum[0]&0x7f | 0x40
	return new(big.Int).SetBytes(sum)
}
