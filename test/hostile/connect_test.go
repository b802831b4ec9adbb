package hostile

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	randv2 "math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"waypoint/api/clusterpb"
	"waypoint/api/versionpb"
)

// strangers is how many connections there are at a time that say nothing.
const strangers = 10_000

// silent opens many connections that never begin TLS, then many that finish it
// and say nothing more.
func silent(t *testing.T, n *nodes) {
	before := n.usage()
	conns := make([]net.Conn, strangers)
	each(64, len(conns), func(i int) {
		conn, err := net.DialTimeout("tcp", n.Addrs[i%nodeCount], 10*time.Second)
		if err != nil {
			t.Errorf("connection %d: %v", i, err)
			return
		}
		conns[i] = conn
	})
	defer closeAll(conns)
	n.newcomer(t)
	// Each node keeps 1,024 of them and lets go of the older ones.
	if now := n.usage(); now.Files > before.Files+nodeCount*1024+moreFiles {
		t.Errorf("the nodes hold %d open files, before it were %d", now.Files, before.Files)
	}
	finished := make([]net.Conn, 300)
	each(8, len(finished), func(i int) {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", n.Addrs[i%nodeCount],
			&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Errorf("TLS connection %d: %v", i, err)
			return
		}
		finished[i] = conn
	})
	defer closeAll(finished)
	n.newcomer(t)
	closeAll(conns)
	closeAll(finished)
	n.calm(t, before)
}

// newcomer is an honest client that connects now.
func (n *nodes) newcomer(t *testing.T) {
	t.Helper()
	for _, addr := range n.Addrs {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := versionpb.NewVersionClient(n.dial(addr).Conn()).Get(ctx, &versionpb.GetRequest{})
		cancel()
		if err != nil {
			t.Errorf("a new client of %s fails after %s: %v", addr, time.Since(begin), err)
		}
	}
}

// each calls do for 0 to n-1, so many at a time.
func each(atOnce, n int, do func(i int)) {
	var all sync.WaitGroup
	next := make(chan int)
	for range atOnce {
		all.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

func closeAll(conns []net.Conn) {
	for i, conn := range conns {
		if conn != nil {
			conn.Close()
			conns[i] = nil
		}
	}
}

// otherLanguages speaks everything but what the port is for. Each is shown out
// at once.
func otherLanguages(t *testing.T, n *nodes) {
	forged := forgedIdentity(t, n.ClusterID)
	secure := func(config *tls.Config, say string) func(net.Conn) {
		return func(conn net.Conn) {
			config.InsecureSkipVerify = true
			c := tls.Client(conn, config)
			if c.HandshakeContext(t.Context()) == nil {
				_, _ = io.WriteString(c, say)
			}
		}
	}
	plain := func(say string) func(net.Conn) {
		return func(conn net.Conn) { _, _ = io.WriteString(conn, say) }
	}
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, speak := range map[string]func(net.Conn){
		"HTTP without TLS":         plain(request),
		"HTTP/2 without TLS":       plain("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		"SSH":                      plain("SSH-2.0-OpenSSH_9.0\r\n"),
		"noise":                    plain("\x16\x03\x01\xff\xff\x01" + string(make([]byte, 600))),
		"HTTP/1.1":                 secure(&tls.Config{NextProtos: []string{"http/1.1"}}, request),
		"no protocol":              secure(&tls.Config{}, request),
		"HTTP/1.1 instead of 2":    secure(&tls.Config{NextProtos: []string{"h2"}}, request),
		"TLS 1.2":                  secure(&tls.Config{NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12}, ""),
		"Raft without certificate": secure(&tls.Config{NextProtos: []string{"waypoint-raft"}}, "\x00\x80"),
		"Raft with another CA":     secure(&tls.Config{NextProtos: []string{"waypoint-raft"}, Certificates: forged}, "\x00\x80"),
		"gRPC with another CA":     secure(&tls.Config{NextProtos: []string{"h2"}, Certificates: forged}, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	} {
		for _, addr := range n.Addrs {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(patience))
			speak(conn)
			_, err = io.Copy(io.Discard, conn)
			if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("%s: the connection stays open", name)
			}
			conn.Close()
		}
	}
}

// forgedIdentity is a node's certificate of a CA that is not the cluster's.
func forgedIdentity(t *testing.T, clusterID string) []tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Waypoint cluster " + clusterID},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		URIs: []*url.URL{{Scheme: "waypoint", Host: clusterID, Path: "/node/01JZ0000000000000000000000"}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
}

// gossipGarbage sends what is no gossip, as packets and as streams.
func gossipGarbage(t *testing.T, n *nodes) {
	noise := randv2.New(randv2.NewPCG(1, 2))
	for _, addr := range n.gossipAddrs() {
		packets, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		for range 5000 {
			packet := make([]byte, noise.IntN(1400))
			for i := range packet {
				packet[i] = byte(noise.Uint32())
			}
			_, _ = packets.Write(packet) // it may be refused for a moment
		}
		packets.Close()

		streams := make([]net.Conn, 300)
		for i := range streams {
			if streams[i], err = net.DialTimeout("tcp", addr, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			streams[i].SetWriteDeadline(time.Now().Add(time.Second))
			switch i % 3 {
			case 0: // says nothing
			case 1: // claims much, and sends some of it
				_, _ = streams[i].Write(append([]byte{10, 1, 0x30, 0, 0}, make([]byte, 256<<10)...))
			case 2:
				_, _ = streams[i].Write([]byte{byte(i), 0xde, 0xff, 0xff, 0xff, 0xff})
			}
		}
		defer closeAll(streams)
	}
	for _, m := range n.members(t) {
		if m.GetGossip() != "alive" {
			t.Errorf("node %s is held for %s", m.GetNode().GetName(), m.GetGossip())
		}
	}
}

func (n *nodes) members(t *testing.T) []*clusterpb.Member {
	t.Helper()
	reply, err := clusterpb.NewClusterClient(n.api.Conn()).Members(t.Context(), &clusterpb.MembersRequest{})
	if err != nil {
		t.Fatal(fmt.Errorf("list members: %w", err))
	}
	return reply.GetMembers()
}
