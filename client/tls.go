package client

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/credentials"

	"waypoint/errs"
)

const pinPrefix = "sha256:"

// transportCredentials accept servers of one authority, given as PEM or pin.
// The host name plays no part, so that addresses may change: a server is who
// holds a certificate of that authority for a name "server.<cluster id>".
func transportCredentials(ca string) (credentials.TransportCredentials, error) {
	roots, err := parseCA(strings.TrimSpace(ca))
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		// The library's own check wants a host name; ours follows.
		InsecureSkipVerify: true,
		VerifyConnection:   func(cs tls.ConnectionState) error { return verifyServer(cs, roots) },
	}), nil
}

// rootsOf finds the authorities to trust for a presented chain.
type rootsOf func(chain []*x509.Certificate) (*x509.CertPool, error)

func parseCA(ca string) (rootsOf, error) {
	if ca == "" {
		return nil, errs.New(errs.Invalid, "no server CA is configured: give its PEM, or sha256: and its fingerprint")
	}
	if digits, ok := strings.CutPrefix(ca, pinPrefix); ok {
		pin, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
		if err != nil || len(pin) != sha256.Size {
			return nil, errs.New(errs.Invalid, "server CA fingerprint %q is not sha256: and 64 hex digits", ca)
		}
		return pinned(pin), nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(ca)) {
		return nil, errs.New(errs.Invalid, "server CA is neither PEM nor a sha256: fingerprint")
	}
	return func([]*x509.Certificate) (*x509.CertPool, error) { return pool, nil }, nil
}

// pinned trusts the presented authority whose certificate has this SHA-256.
func pinned(pin []byte) rootsOf {
	return func(chain []*x509.Certificate) (*x509.CertPool, error) {
		for _, cert := range chain {
			sum := sha256.Sum256(cert.Raw)
			if cert.BasicConstraintsValid && cert.IsCA && subtle.ConstantTimeCompare(sum[:], pin) == 1 {
				pool := x509.NewCertPool()
				pool.AddCert(cert)
				return pool, nil
			}
		}
		return nil, fmt.Errorf("the server's chain has no authority with the fingerprint %s%x", pinPrefix, pin)
	}
}

// strangerError says that whoever answered is no server of the cluster. Asking
// again does not help, unless the address changes.
type strangerError struct{ why error }

func (e strangerError) Error() string { return e.why.Error() }
func (e strangerError) Unwrap() error { return e.why }

func verifyServer(cs tls.ConnectionState, roots rootsOf) error {
	if err := checkServer(cs, roots); err != nil {
		return strangerError{err}
	}
	return nil
}

func checkServer(cs tls.ConnectionState, roots rootsOf) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	pool, err := roots(cs.PeerCertificates)
	if err != nil {
		return err
	}
	between := x509.NewCertPool()
	for _, cert := range cs.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	leaf := cs.PeerCertificates[0]
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots:         pool,
		Intermediates: between,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("verify the server's certificate: %w", err)
	}
	for _, name := range leaf.DNSNames {
		if strings.HasPrefix(name, "server.") {
			return nil
		}
	}
	return errors.New("the certificate is not one of a server: it has no name server.<cluster id>")
}
