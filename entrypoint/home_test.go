package entrypoint

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"waypoint/api/entrypointpb"
	"waypoint/api/execpb"
	"waypoint/api/logspb"
	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
)

// home is a home node: a real gRPC server over TLS with the Entrypoint
// service, which remembers what it was told.
type home struct {
	entrypointpb.UnimplementedEntrypointServer
	versionpb.UnimplementedVersionServer

	t      *testing.T
	addr   string
	pin    string
	server *grpc.Server

	mu       sync.Mutex
	refuse   error         // of each attach
	tries    int           // attaches, also refused ones
	end      chan struct{} // closed to end all attaches
	withhold bool          // no turns: a test grants them
	config   *entrypointpb.Config
	after    uint64 // sent with the welcome
	hellos   []*entrypointpb.Hello
	lines    []*logspb.Line
	dropped  uint64
	child    *entrypointpb.ChildState
	states   []*entrypointpb.ChildState // as they came
	goodbye  *entrypointpb.Goodbye
	attached []chan *entrypointpb.Down // of the live streams
	execs    map[string]chan entrypointpb.Entrypoint_ExecServer
	cut      chan struct{} // closed to end all exec sessions
}

// homes makes n nodes of one cluster.
func homes(t *testing.T, n int) []*home {
	t.Helper()
	cert, pin := certificate(t)
	all := make([]*home, n)
	for i := range all {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		h := &home{
			t: t, addr: lis.Addr().String(), pin: pin,
			execs: make(map[string]chan entrypointpb.Entrypoint_ExecServer), cut: make(chan struct{}), end: make(chan struct{}),
		}
		h.server = grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
		})))
		entrypointpb.RegisterEntrypointServer(h.server, h)
		versionpb.RegisterVersionServer(h.server, h)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = h.server.Serve(lis)
		}()
		t.Cleanup(func() { h.server.Stop(); <-done })
		all[i] = h
	}
	return all
}

// certificate is a server's with its authority in the chain, and the pin.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"server.c1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	check(t, err)
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	check(t, err)
	return tls.Certificate{Certificate: [][]byte{leafDER, caDER}, PrivateKey: key},
		fmt.Sprintf("sha256:%x", sha256.Sum256(caDER))
}

func (h *home) Get(context.Context, *versionpb.GetRequest) (*versionpb.GetResponse, error) {
	return &versionpb.GetResponse{}, nil
}

// Attach plays the home node's side.
func (h *home) Attach(s entrypointpb.Entrypoint_AttachServer) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.tries++
	end := h.end
	if h.refuse != nil {
		defer h.mu.Unlock()
		return errs.ToStatus(h.refuse)
	}
	h.hellos = append(h.hellos, first.GetHello())
	h.child = first.GetHello().GetChild()
	welcome := &entrypointpb.Welcome{NodeId: h.addr, SendLogsAfter: h.after}
	out := make(chan *entrypointpb.Down, 16)
	out <- &entrypointpb.Down{Kind: &entrypointpb.Down_Welcome{Welcome: welcome}}
	if h.config != nil {
		out <- &entrypointpb.Down{Kind: &entrypointpb.Down_Config{Config: h.config}}
	}
	h.attached = append(h.attached, out)
	h.grant(out)
	h.mu.Unlock()
	defer h.leave(out)
	ended := make(chan error, 1)
	go func() { ended <- h.receive(s, out) }()
	for {
		select {
		case down := <-out:
			if err := s.Send(down); err != nil {
				return err
			}
		case err := <-ended:
			return err
		case <-end:
			return errs.ToStatus(errs.New(errs.Unavailable, "this node is leaving"))
		}
	}
}

func (h *home) leave(out chan *entrypointpb.Down) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attached = slices.DeleteFunc(h.attached, func(c chan *entrypointpb.Down) bool { return c == out })
}

// grant gives a child that waits for a restart its turn at once.
func (h *home) grant(out chan<- *entrypointpb.Down) {
	if h.child.GetRestartWanted() != nil && !h.withhold {
		out <- turn(h.child.GetStarts())
	}
}

func turn(starts uint32) *entrypointpb.Down {
	return &entrypointpb.Down{Kind: &entrypointpb.Down_Restart{Restart: &entrypointpb.Restart{Starts: starts}}}
}

func (h *home) receive(s entrypointpb.Entrypoint_AttachServer, out chan<- *entrypointpb.Down) error {
	for {
		up, err := s.Recv()
		if err != nil {
			return err
		}
		h.mu.Lock()
		switch kind := up.GetKind().(type) {
		case *entrypointpb.Up_Logs:
			h.lines = append(h.lines, kind.Logs.GetLines()...)
			h.dropped += kind.Logs.GetDroppedLines()
		case *entrypointpb.Up_Child:
			h.child = kind.Child
			h.states = append(h.states, kind.Child)
			h.grant(out)
		case *entrypointpb.Up_Goodbye:
			h.goodbye = kind.Goodbye
			h.mu.Unlock()
			return nil
		}
		h.mu.Unlock()
	}
}

// Exec hands the stream to the test that waits for it.
func (h *home) Exec(s entrypointpb.Entrypoint_ExecServer) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	h.mu.Lock()
	taken, cut := h.execs[first.GetSessionId()], h.cut
	h.mu.Unlock()
	if taken == nil {
		return errs.ToStatus(errs.New(errs.NotFound, "no session %s", first.GetSessionId()))
	}
	taken <- s
	select {
	case <-s.Context().Done():
	case <-cut:
	}
	return nil
}

// set changes the node under its lock.
func (h *home) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// say sends to every attached entrypoint.
func (h *home) say(down *entrypointpb.Down) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, out := range h.attached {
		out <- down
	}
}

// configure makes a configuration the current one and sends it.
func (h *home) configure(index uint64, kv ...string) {
	h.set(func() { h.config = config(index, kv...) })
	h.say(&entrypointpb.Down{Kind: &entrypointpb.Down_Config{Config: config(index, kv...)}})
}

func config(index uint64, kv ...string) *entrypointpb.Config {
	c := &entrypointpb.Config{Epoch: "01E", Index: index, Hash: []byte(fmt.Sprint(kv))}
	for i := 0; i+1 < len(kv); i += 2 {
		c.Variables = append(c.Variables, &entrypointpb.EnvVar{Name: kv[i], Value: kv[i+1]})
	}
	return c
}

// until waits for a condition on the node.
func (h *home) until(what string, done func() bool) {
	h.t.Helper()
	wait.For(h.t, patience, what, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return done()
	})
}

// exec asks the attached entrypoint for a session and opens it.
func (h *home) exec(open *execpb.Open) *session {
	h.t.Helper()
	open.SessionId = ids.New()
	taken := make(chan entrypointpb.Entrypoint_ExecServer, 1)
	h.set(func() { h.execs[open.GetSessionId()] = taken })
	h.say(&entrypointpb.Down{Kind: &entrypointpb.Down_Exec{Exec: &entrypointpb.ExecOpen{SessionId: open.GetSessionId()}}})
	select {
	case s := <-taken:
		check(h.t, s.Send(&execpb.Input{Kind: &execpb.Input_Open{Open: open}}))
		return &session{t: h.t, stream: s}
	case <-time.After(patience):
		h.t.Fatal("nobody takes up the exec session")
		return nil
	}
}

// session is the home node's side of an exec session.
type session struct {
	t              *testing.T
	stream         entrypointpb.Entrypoint_ExecServer
	stdout, stderr []byte
	opened         *execpb.Opened
}

func (s *session) send(in *execpb.Input) {
	s.t.Helper()
	check(s.t, s.stream.Send(in))
}

func (s *session) input(text string) {
	s.t.Helper()
	s.send(&execpb.Input{Kind: &execpb.Input_Stdin{Stdin: []byte(text)}})
}

// next receives one output and keeps what it carries.
func (s *session) next() *execpb.Output {
	s.t.Helper()
	up, err := s.stream.Recv()
	check(s.t, err)
	out := up.GetOutput()
	switch kind := out.GetKind().(type) {
	case *execpb.Output_Opened:
		s.opened = kind.Opened
	case *execpb.Output_Stdout:
		if out.GetOffset() != uint64(len(s.stdout)) || len(kind.Stdout) > chunk {
			s.t.Fatalf("%d bytes at %d after %d", len(kind.Stdout), out.GetOffset(), len(s.stdout))
		}
		s.stdout = append(s.stdout, kind.Stdout...)
	case *execpb.Output_Stderr:
		s.stderr = append(s.stderr, kind.Stderr...)
	}
	return out
}

// reads receives until standard output satisfies done.
func (s *session) reads(done func(string) bool) {
	s.t.Helper()
	for !done(string(s.stdout)) {
		if out := s.next(); out.GetExit() != nil || out.GetRefused() != nil {
			s.t.Fatalf("the command ended after %q: %v", s.stdout, out)
		}
	}
}

// exit receives to the end and returns the exit code.
func (s *session) exit() int {
	s.t.Helper()
	for {
		out := s.next()
		if out.GetRefused() != nil {
			s.t.Fatalf("refused: %v", out.GetRefused())
		}
		if out.GetExit() != nil {
			return int(out.GetExit().GetCode())
		}
	}
}
