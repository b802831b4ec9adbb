package rpctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

// serverName is the name in the test server's certificate.
const serverName = "server.test"

// Authority is the CA of a fixture. It tells nodes by the common name of their
// certificates, if they are listed in the state.
type Authority struct {
	fixture *Fixture
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, f *Fixture) *Authority {
	t.Helper()
	a := &Authority{fixture: f}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatalf("make CA: %v", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatalf("parse CA: %v", err)
	}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make key: %v", err)
	}
	return key
}

// issue returns a certificate with that common name.
func (a *Authority) issue(t testing.TB, commonName string, usage x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: commonName},
		DNSNames:  []string{commonName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatalf("issue certificate: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *Authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *Authority) serverTLS(t testing.TB) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{a.issue(t, serverName, x509.ExtKeyUsageServerAuth)},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: a.pool(), MinVersion: tls.VersionTLS13,
	}
}

func (a *Authority) clientTLS() *tls.Config {
	return &tls.Config{RootCAs: a.pool(), ServerName: serverName, MinVersion: tls.VersionTLS13}
}

func (a *Authority) nodeTLS(t testing.TB, nodeID string) *tls.Config {
	cfg := a.clientTLS()
	cfg.Certificates = []tls.Certificate{a.issue(t, nodeID, x509.ExtKeyUsageClientAuth)}
	return cfg
}

// PeerIdentity returns the id of the listed node at the other end.
func (a *Authority) PeerIdentity(connection tls.ConnectionState) (string, bool) {
	if len(connection.VerifiedChains) == 0 {
		return "", false
	}
	id := connection.VerifiedChains[0][0].Subject.CommonName
	return id, a.fixture.Store.Read().Node(id) != nil
}
