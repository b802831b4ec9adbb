package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"waypoint/cluster/pki"
)

// signedRequest and its parts are PKCS #10, for requests that no library makes.
type (
	signedRequest struct {
		Request   request
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	request struct {
		Version    int
		Subject    asn1.RawValue
		Key        publicKey
		Attributes []asn1.RawValue `asn1:"tag:0"`
	}
	publicKey struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	rsaKey struct {
		N *big.Int
		E int
	}
)

// hugeRequest is a request with an RSA key of so many bits and a signature that
// is none.
func hugeRequest(t testing.TB, bits uint) []byte {
	t.Helper()
	modulus := new(big.Int).Lsh(big.NewInt(1), bits-1)
	key, err := asn1.Marshal(rsaKey{modulus.Add(modulus, big.NewInt(1)), 65537})
	if err != nil {
		t.Fatal(err)
	}
	null := asn1.RawValue{Tag: asn1.TagNull}
	signature := make([]byte, bits/8)
	der, err := asn1.Marshal(signedRequest{
		Request: request{
			Subject: asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true},
			Key: publicKey{
				Algorithm: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, Parameters: null},
				Key:       asn1.BitString{Bytes: key, BitLength: 8 * len(key)},
			},
		},
		Algorithm: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: null},
		Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Anybody may send a request, and to check the signature of a large RSA key takes
// long.
func TestAKeyOfAnotherKindIsRefusedBeforeItIsUsed(t *testing.T) {
	_, _, err := pki.CheckRequest(hugeRequest(t, 1<<15))
	if err == nil || !strings.Contains(err.Error(), "ECDSA on P-256") {
		t.Errorf("got %v", err)
	}
}

func TestAnOversizedRequestIsRefused(t *testing.T) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: strings.Repeat("x", 64<<10)},
	}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := pki.CheckRequest(der); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("got %v", err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// What is accepted is signed by a key of the one kind, and the CA can make a
// certificate of it.
func FuzzCheckRequest(f *testing.F) {
	real, err := pki.Request(newKey(f))
	if err != nil {
		f.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	odd, err := pki.Request(other)
	if err != nil {
		f.Fatal(err)
	}
	ca, err := pki.NewCA("C", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(real)
	f.Add(odd)
	f.Add(hugeRequest(f, 4096))
	f.Fuzz(func(t *testing.T, der []byte) {
		key, hash, err := pki.CheckRequest(der)
		if err != nil {
			if key != nil || hash != nil {
				t.Fatal("a refused request has a key")
			}
			return
		}
		spki, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(spki); key.Curve != elliptic.P256() || !bytes.Equal(sum[:], hash) {
			t.Fatalf("key on %s with hash %x, want %x", key.Params().Name, hash, sum)
		}
		if _, err := ca.Sign(key, "C", "N", pki.Serial(hash), time.Now()); err != nil {
			t.Fatal(err)
		}
	})
}
