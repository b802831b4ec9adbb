// Package serve builds a node's gRPC server: the limits of its transport and the
// chain of interceptors that every call of every service passes. In order: a
// panic or failure becomes a log line and a status; the caller's protocol ranges
// are compared; the caller is identified and admitted; the request id is
// checked; the node catches up with what the caller has seen. It knows no
// service and not how the node is made current.
package serve

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/protocol"
	"waypoint/rpc/policy"
	"waypoint/rpc/read"
	"waypoint/state"
)

// Limits of the transport. They bound what a caller can make a node hold.
const (
	// MaxMessage is the largest message that a method takes, in bytes.
	MaxMessage = 4 << 20
	// hardMessage is where gRPC itself gives up on a message. Between the two
	// the caller gets an error that says what to do.
	hardMessage = 2 * MaxMessage
	// maxStreams bounds the calls at a time on one connection. Between two
	// nodes one connection carries every log reader.
	maxStreams = 2048
	// maxHeader bounds a call's headers, in bytes.
	maxHeader = 16 << 10
	// Windows of fixed size: to measure a better one, gRPC would ping the caller
	// with each request, which costs as much as a small call.
	streamWindow = 512 << 10
	connWindow   = 4 << 20
	// handshakeWait bounds a connection's handshake.
	handshakeWait = 20 * time.Second
	// pingAllowed is how often clients may ping: the clients of this project
	// do so each 15 s or more slowly, also without a call.
	pingAllowed = 10 * time.Second
	// pingAfter and pingWait find clients that are gone without a word.
	pingAfter = 15 * time.Second
	pingWait  = 15 * time.Second
)

// Peers tells which node a connection comes from.
type Peers interface {
	// PeerIdentity returns the id of the listed node whose verified client
	// certificate the connection carries.
	PeerIdentity(state tls.ConnectionState) (nodeID string, ok bool)
}

// Config is what a server needs. All fields without a stated default are needed.
type Config struct {
	Store *state.Store
	Fresh read.Freshener
	Peers Peers
	// TokenKey returns the key that tokens are signed with. It may fail while
	// the node has no state yet.
	TokenKey func() ([]byte, error)
	// Credentials handshake connections. For a certificate to count, AuthInfo must
	// be credentials.TLSInfo or have the methods of guest, which bound strangers.
	Credentials credentials.TransportCredentials
	// NodeName names this node in errors, so that people find the right log.
	NodeName string
	Logger   hclog.Logger

	// Health answers the standard health service. Default: serving.
	Health healthpb.HealthServer
	// Ranges are the protocol ranges of this node. Default: the build's.
	Ranges *versionpb.Ranges
	// Now is the cluster's time. Default: time.Now.
	Now func() time.Time
}

// Server is a gRPC server whose every method has a policy.
type Server struct {
	*grpc.Server
	policies *policy.Table
	watching sync.WaitGroup // for tokens of open streams that stop being valid
}

// New returns a server with health and reflection registered. It fails if a
// method of this project declares no policy. Register services, then Serve.
func New(cfg Config) (*Server, error) {
	table, err := policy.Load()
	if err != nil {
		return nil, err
	}
	if cfg.Ranges == nil {
		cfg.Ranges = protocol.Current()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Health == nil {
		cfg.Health = health.NewServer()
	}
	server := &Server{policies: table}
	chain := &chain{Config: cfg, policies: table, watching: &server.watching}
	server.Server = grpc.NewServer(options(cfg, chain)...)
	healthpb.RegisterHealthServer(server, cfg.Health)
	reflection.Register(server)
	return server, nil
}

func options(cfg Config, c *chain) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(cfg.Credentials),
		grpc.ConnectionTimeout(handshakeWait),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingAllowed, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingWait}),
		grpc.ReadBufferSize(0), // saves 32 KiB a connection
		grpc.MaxRecvMsgSize(hardMessage),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.InTapHandle(c.enter),
		grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(c.unary),
		grpc.StreamInterceptor(c.stream),
		grpc.UnknownServiceHandler(unknownMethod),
	}
}

// unknownMethod is never reached: the chain refuses a method without a policy
// first. It is there so that the chain sees unknown methods at all.
func unknownMethod(any, grpc.ServerStream) error {
	return errs.New(errs.Unimplemented, "this node does not know the method")
}

// Check fails if a registered method has no policy.
func (s *Server) Check() error { return s.policies.Check(s.GetServiceInfo()) }

// Serve serves the connections of listener until Stop or GracefulStop. It
// refuses to start if a registered method has no policy.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.Check(); err != nil {
		return err
	}
	return s.Server.Serve(listener)
}

// Stop ends every call and connection at once and waits for all handlers.
func (s *Server) Stop() {
	s.Server.Stop()
	s.watching.Wait()
}

// GracefulStop takes no new call and waits until the running ones have ended.
func (s *Server) GracefulStop() {
	s.Server.GracefulStop()
	s.watching.Wait()
}
