package entrypoint

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"waypoint/api/entrypointpb"
	"waypoint/api/versionpb"
	"waypoint/errs"
)

// door is a listener whose manners can be changed while it listens.
type door struct {
	t   *testing.T
	lis net.Listener

	mu      sync.Mutex
	manners manners
	conns   map[net.Conn]struct{}
	serving sync.WaitGroup
}

// manners is what happens to a connection; it ends when the function returns.
type manners func(net.Conn)

// open makes a door for the time of a test.
func open(t *testing.T, lis net.Listener, m manners) *door {
	d := &door{t: t, lis: lis, manners: m, conns: make(map[net.Conn]struct{})}
	d.serving.Go(d.accept)
	t.Cleanup(func() {
		lis.Close()
		d.change(nil)
		d.serving.Wait()
	})
	return d
}

func (d *door) accept() {
	for {
		conn, err := d.lis.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		m := d.manners
		d.conns[conn] = struct{}{}
		d.mu.Unlock()
		d.serving.Go(func() {
			if m != nil {
				m(conn)
			}
			conn.Close()
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(d.conns, conn)
		})
	}
}

// change is as if the door's process were replaced: what it had is cut.
func (d *door) change(m manners) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.manners = m
	for conn := range d.conns {
		conn.Close()
	}
}

// hold takes what comes and never answers.
func hold(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// stall begins a TLS answer and does not go on.
func stall(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1))
	// A handshake record of 122 bytes, of which the first few of a
	// ServerHello come.
	_, _ = conn.Write([]byte{22, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3, 1, 2, 3})
	hold(conn)
}

// encrypted shakes hands as a server and then has the manners of another.
func encrypted(cert tls.Certificate, then manners) manners {
	return func(raw net.Conn) {
		conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13})
		if conn.Handshake() == nil {
			then(conn)
		}
	}
}

// notFound is a proxy that knows only HTTP/1.1 and no such page.
func notFound(conn net.Conn) {
	lines := bufio.NewReader(conn)
	if _, err := lines.ReadByte(); err != nil {
		return
	}
	reply := &http.Response{StatusCode: http.StatusNotFound, ProtoMajor: 1, ProtoMinor: 1, Close: true}
	_ = reply.Write(conn)
}

// forward carries everything to and from an address, each byte of an answer
// after a pause if there is one.
func forward(addr string, pause time.Duration) manners {
	return func(conn net.Conn) {
		far, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		var copying sync.WaitGroup
		defer copying.Wait()
		defer far.Close()
		defer conn.Close()
		copying.Go(func() {
			defer far.Close()
			_, _ = io.Copy(far, conn)
		})
		if pause == 0 {
			_, _ = io.Copy(conn, far)
			return
		}
		drip(conn, far, pause)
	}
}

func drip(to io.Writer, from io.Reader, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for b := make([]byte, 1); ; <-tick.C {
		if _, err := from.Read(b); err != nil {
			return
		}
		if _, err := to.Write(b); err != nil {
			return
		}
	}
}

// fake is a server with the entrypoint's services that fails each attach.
type fake struct {
	entrypointpb.UnimplementedEntrypointServer
	versionpb.UnimplementedVersionServer
	refuse error // nil: never answers
	deaf   bool  // to the first call as well
	over   chan struct{}
}

func (f *fake) Get(context.Context, *versionpb.GetRequest) (*versionpb.GetResponse, error) {
	if f.deaf {
		<-f.over
	}
	return &versionpb.GetResponse{}, nil
}

func (f *fake) Attach(s entrypointpb.Entrypoint_AttachServer) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	if f.refuse == nil {
		<-f.over
		return nil
	}
	return errs.ToStatus(f.refuse)
}

// serve gives connections to a fake.
func serve(t *testing.T, cert tls.Certificate, f *fake) manners {
	f.over = make(chan struct{})
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
	})))
	entrypointpb.RegisterEntrypointServer(server, f)
	versionpb.RegisterVersionServer(server, f)
	lis := &handed{conns: make(chan net.Conn), over: make(chan struct{})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(lis) })
	t.Cleanup(func() {
		close(f.over)
		server.Stop()
		serving.Wait()
	})
	return func(conn net.Conn) {
		c := &counted{Conn: conn, closed: make(chan struct{})}
		select {
		case lis.conns <- c:
			<-c.closed
		case <-lis.over:
		}
	}
}

// handed is a listener of connections that somebody else has accepted.
type handed struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.over:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.over) })
	return nil
}

func (h *handed) Addr() net.Addr { return &net.TCPAddr{} }

// counted tells when it is closed.
type counted struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *counted) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// authority makes a CA and the certificate of a server of its.
func authority(t *testing.T) (cert tls.Certificate, caPEM string) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	from, until := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "another CA"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"server.another"}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	check(t, err)
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	check(t, err)
	return tls.Certificate{Certificate: [][]byte{leafDER, caDER}, PrivateKey: key}, pemOf(caDER)
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
