package pki

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/internal/wait"
)

const clusterID = "01JZ0000000000000000000000"

func authority(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA(clusterID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func identity(t *testing.T, ca *CA, nodeID string) *Identity {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := ca.Sign(&key.PublicKey, clusterID, nodeID, Serial([]byte(nodeID)), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := NewIdentity(clusterID, nodeID, der, ca.DER, key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func listen(t *testing.T, id *Identity) *Listener {
	t.Helper()
	l, err := Listen("127.0.0.1:0", id, func(s tls.ConnectionState) bool {
		_, ok := id.Peer(s)
		return ok
	}, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l
}

func dial(l *Listener, config *tls.Config) error {
	conn, err := tls.Dial("tcp", l.Addr().String(), config)
	if err != nil {
		return err
	}
	defer conn.Close()
	return nil
}

func TestConnectionsAreSplitByProtocol(t *testing.T) {
	ca := authority(t)
	server, client := identity(t, ca, "a"), identity(t, ca, "b")
	l := listen(t, server)

	conn, err := tls.Dial("tcp", l.Addr().String(), client.Client("a", ALPNRaft))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raft := <-l.Raft()
	defer raft.Close()
	if id, ok := server.Peer(raft.(*tls.Conn).ConnectionState()); !ok || id != "b" {
		t.Errorf("the Raft peer is %q, %v", id, ok)
	}

	conn, err = tls.Dial("tcp", l.Addr().String(), client.Client("a", ALPNGRPC))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h2, err := l.GRPC().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer h2.Close()
	if _, info, err := ServerCredentials().ServerHandshake(h2); err != nil || info.AuthType() != "tls" {
		t.Errorf("handshake for gRPC: %v", err)
	}
}

func TestRaftNeedsACertificate(t *testing.T) {
	ca := authority(t)
	l := listen(t, identity(t, ca, "a"))
	config, err := Pinned(clusterID, Fingerprint(ca.DER))
	if err != nil {
		t.Fatal(err)
	}
	config.NextProtos = []string{ALPNRaft}
	conn, err := tls.Dial("tcp", l.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a stranger was let in as a Raft peer")
	}
}

func TestDiallerChecksWhomItReached(t *testing.T) {
	ca, other := authority(t), authority(t)
	l := listen(t, identity(t, ca, "a"))
	b := identity(t, ca, "b")
	if err := dial(l, b.Client("c", ALPNGRPC)); err == nil {
		t.Error("node a passed for node c")
	}
	if err := dial(l, identity(t, other, "b").Client("a", ALPNGRPC)); err == nil {
		t.Error("a node of another cluster was trusted")
	}
}

func TestPinnedClientTrustsOnlyThatCA(t *testing.T) {
	ca, other := authority(t), authority(t)
	l := listen(t, identity(t, ca, "a"))
	for _, tt := range []struct{ name, cluster, fingerprint, want string }{
		{"right", clusterID, Fingerprint(ca.DER), ""},
		{"other CA", clusterID, Fingerprint(other.DER), "fingerprint"},
		{"other cluster", "01JZ1111111111111111111111", Fingerprint(ca.DER), "not a node of cluster"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config, err := Pinned(tt.cluster, tt.fingerprint)
			if err != nil {
				t.Fatal(err)
			}
			err = dial(l, config)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := Pinned(clusterID, "sha256:12"); err == nil {
		t.Error("half a fingerprint was accepted")
	}
}

func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	ca := authority(t)
	l := listen(t, identity(t, ca, "a"))
	for range maxPending + 50 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	wait.For(t, 10*time.Second, "the port to be full", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.pending.Len() >= maxPending
	})
	go func() {
		if conn, err := l.GRPC().Accept(); err == nil {
			conn.Close()
		}
	}()
	if err := dial(l, identity(t, ca, "b").Client("a", ALPNGRPC)); err != nil {
		t.Errorf("an honest client was kept out: %v", err)
	}
}

func TestMismatchedFilesAreNoIdentity(t *testing.T) {
	ca, other := authority(t), authority(t)
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := ca.Sign(&key.PublicKey, clusterID, "a", Serial([]byte("a")), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewIdentity(clusterID, "a", der, ca.DER, wrong); err == nil {
		t.Error("another key was accepted")
	}
	if _, err := NewIdentity(clusterID, "b", der, ca.DER, key); err == nil {
		t.Error("another node's certificate was accepted")
	}
	if _, err := NewIdentity(clusterID, "a", der, other.DER, key); err == nil {
		t.Error("another CA was accepted")
	}
}

func TestRequestProvesTheKey(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := Request(key)
	if err != nil {
		t.Fatal(err)
	}
	got, hash, err := CheckRequest(csr)
	if err != nil || !got.Equal(&key.PublicKey) || len(hash) != 32 {
		t.Fatalf("check request: %v", err)
	}
	csr[len(csr)-1] ^= 1
	if _, _, err := CheckRequest(csr); err == nil {
		t.Error("a request with a broken signature was accepted")
	}
}

func TestCAComesBackFromItsParts(t *testing.T) {
	ca := authority(t)
	key, err := ca.KeyDER()
	if err != nil {
		t.Fatal(err)
	}
	back, err := LoadCA(ca.DER, key)
	if err != nil {
		t.Fatal(err)
	}
	identity(t, back, "a")
	if _, err := LoadCA(authority(t).DER, key); err == nil {
		t.Error("key and certificate of different CAs were accepted")
	}
}
