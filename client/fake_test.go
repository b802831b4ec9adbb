package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"waypoint/api/clusterpb"
	"waypoint/api/logspb"
	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/protocol"
)

// authority is a certificate authority made for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return &authority{cert, key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func (a *authority) pin() string { return fmt.Sprintf("sha256:%x", sha256.Sum256(a.cert.Raw)) }

// certificate issues a server's certificate for a DNS name; its chain holds the CA.
func (a *authority) certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	check(t, err)
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

// node is a real gRPC server over TLS with just enough of a node's services.
type node struct {
	clusterpb.UnimplementedClusterServer
	versionpb.UnimplementedVersionServer
	logspb.UnimplementedLogsServer

	addr   string
	server *grpc.Server

	mu      sync.Mutex
	seen    []metadata.MD // of each CreateJoinToken
	servers []string
	tells   []string // the members, with its first answer
	asked   int      // for the members
	// answer is what CreateJoinToken does; nil: it succeeds.
	answer func(ctx context.Context, requestID string) error
	// stream is what Logs.Stream does.
	stream func(logspb.Logs_StreamServer) error
	clock  func() time.Time
	epoch  string
	index  uint64
}

func startNode(t *testing.T, cert tls.Certificate) *node {
	t.Helper()
	n := &node{clock: time.Now, epoch: "01A"}
	n.serve(t, cert, "127.0.0.1:0")
	return n
}

func (n *node) serve(t *testing.T, cert tls.Certificate, addr string) {
	t.Helper()
	lis, err := net.Listen("tcp", addr)
	check(t, err)
	n.addr = lis.Addr().String()
	n.server = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})),
		grpc.UnaryInterceptor(n.unary), grpc.StreamInterceptor(n.streamed))
	clusterpb.RegisterClusterServer(n.server, n)
	versionpb.RegisterVersionServer(n.server, n)
	logspb.RegisterLogsServer(n.server, n)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.server.Serve(lis)
	}()
	server := n.server
	t.Cleanup(func() { server.Stop(); <-done })
}

func (n *node) kill() { n.server.Stop() }

func (n *node) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

func (n *node) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	n.mu.Lock()
	_ = grpc.SetHeader(ctx, metadata.Pairs(protocol.HeaderTime, strconv.FormatInt(n.clock().UnixMilli(), 10)))
	_ = grpc.SetTrailer(ctx, metadata.Pairs(protocol.HeaderIndex, protocol.EncodeIndex(n.epoch, n.index)))
	n.mu.Unlock()
	reply, err := next(ctx, req)
	return reply, errs.ToStatus(err)
}

func (n *node) streamed(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	n.mu.Lock()
	_ = ss.SetHeader(metadata.Pairs(protocol.HeaderIndex, protocol.EncodeIndex(n.epoch, n.index)))
	n.mu.Unlock()
	return errs.ToStatus(next(srv, ss))
}

func (n *node) Get(context.Context, *versionpb.GetRequest) (*versionpb.GetResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &versionpb.GetResponse{Servers: n.tells}, nil
}

func (n *node) Servers(context.Context, *clusterpb.ServersRequest) (*clusterpb.ServersResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	return &clusterpb.ServersResponse{Addrs: n.servers}, nil
}

func (n *node) CreateJoinToken(ctx context.Context, _ *clusterpb.CreateJoinTokenRequest) (*clusterpb.CreateJoinTokenResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	n.mu.Lock()
	n.seen = append(n.seen, md)
	answer := n.answer
	n.mu.Unlock()
	if answer != nil {
		if err := answer(ctx, md.Get(protocol.HeaderRequestID)[0]); err != nil {
			return nil, err
		}
	}
	return &clusterpb.CreateJoinTokenResponse{Text: n.addr}, nil
}

func (n *node) Stream(_ *logspb.StreamRequest, s logspb.Logs_StreamServer) error {
	return n.stream(s)
}

// header is what the i-th call carried under a name.
func (n *node) header(i int, name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i >= len(n.seen) || len(n.seen[i].Get(name)) == 0 {
		return ""
	}
	return n.seen[i].Get(name)[0]
}

func (n *node) calls() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.seen)
}

// newClient makes a client with short times that is closed with the test.
func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

// call makes the unary call of these tests and says which node did it.
func call(ctx context.Context, c *Client) (string, error) {
	reply, err := clusterpb.NewClusterClient(c.Conn()).CreateJoinToken(ctx, &clusterpb.CreateJoinTokenRequest{})
	return reply.GetText(), err
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
