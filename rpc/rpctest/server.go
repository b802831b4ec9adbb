package rpctest

import (
	"context"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"waypoint/protocol"
	"waypoint/rpc/serve"
)

// Service is what a service package's New returns.
type Service interface {
	Register(grpc.ServiceRegistrar)
}

// Server is a running server of a fixture.
type Server struct {
	*serve.Server
	fixture  *Fixture
	listener *bufconn.Listener
}

// Serve starts a server with these services. It ends with the test.
func (f *Fixture) Serve(services ...Service) *Server {
	f.t.Helper()
	return f.ServeWith(nil, services...)
}

// ServeWith is Serve with a chance to change the server's configuration.
func (f *Fixture) ServeWith(change func(*serve.Config), services ...Service) *Server {
	f.t.Helper()
	s := f.unstarted(change)
	for _, service := range services {
		service.Register(s)
	}
	s.start(f.t)
	return s
}

// Unstarted returns a server that serves nothing yet.
func (f *Fixture) Unstarted() *Server { return f.unstarted(nil) }

func (f *Fixture) unstarted(change func(*serve.Config)) *Server {
	f.t.Helper()
	cfg := serve.Config{
		Store: f.Store, Fresh: f, Peers: f.CA, TokenKey: f.TokenKey,
		Credentials: credentials.NewTLS(f.CA.serverTLS(f.t)),
		NodeName:    "test", Logger: f.Logger,
	}
	if change != nil {
		change(&cfg)
	}
	server, err := serve.New(cfg)
	if err != nil {
		f.t.Fatalf("make server: %v", err)
	}
	return &Server{Server: server, fixture: f, listener: bufconn.Listen(64 << 10)}
}

func (s *Server) start(t testing.TB) {
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Server.Serve(s.listener); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		s.Server.Stop()
		running.Wait()
	})
}

// Dial returns a connection that carries a token and this build's protocol
// ranges with each call. An empty token is an anonymous caller.
func (s *Server) Dial(tokenText string) *grpc.ClientConn {
	return s.connect(credentials.NewTLS(s.fixture.CA.clientTLS()), headers(tokenText))
}

// DialNode returns a connection with the certificate of a node, which is listed
// in the membership if it was not.
func (s *Server) DialNode(nodeID string) *grpc.ClientConn {
	f := s.fixture
	if f.Store.Read().Node(nodeID) == nil {
		f.join(nodeID)
	}
	return s.DialCertificate(nodeID)
}

// DialCertificate is DialNode for a node that may be missing from the membership.
func (s *Server) DialCertificate(nodeID string) *grpc.ClientConn {
	return s.connect(credentials.NewTLS(s.fixture.CA.nodeTLS(s.fixture.t, nodeID)), headers(""))
}

// DialBare returns an anonymous connection that sends no headers of its own.
func (s *Server) DialBare() *grpc.ClientConn {
	return s.connect(credentials.NewTLS(s.fixture.CA.clientTLS()), nil)
}

func headers(tokenText string) metadata.MD {
	md := metadata.Pairs(protocol.HeaderRanges, protocol.EncodeRanges(protocol.Current()))
	if tokenText != "" {
		md.Set(protocol.HeaderAuthorization, "Bearer "+tokenText)
	}
	return md
}

func (s *Server) connect(creds credentials.TransportCredentials, md metadata.MD) *grpc.ClientConn {
	t := s.fixture.t
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///test",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(creds),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(merge(ctx, md), method, req, reply, cc, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(merge(ctx, md), desc, cc, method, opts...)
		}),
	)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// merge adds headers that the context does not set itself.
func merge(ctx context.Context, md metadata.MD) context.Context {
	own, _ := metadata.FromOutgoingContext(ctx)
	for name, values := range md {
		if len(own.Get(name)) == 0 {
			ctx = metadata.AppendToOutgoingContext(ctx, name, values[0])
		}
	}
	return ctx
}

// WithRequestID returns a context whose calls carry a request id.
func WithRequestID(ctx context.Context, id string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, protocol.HeaderRequestID, id)
}

// WithStale returns a context whose calls accept stale answers.
func WithStale(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, protocol.HeaderStale, "1")
}
