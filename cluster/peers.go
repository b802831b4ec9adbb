package cluster

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"waypoint/cluster/gossip"
	"waypoint/cluster/pki"
	"waypoint/errs"
	"waypoint/protocol"
)

// How the connections to peers behave. A peer that answers nothing is given up
// after pingEvery and pingLimit; the servers' keepalive enforcement allows pings
// that are 10 s apart.
const (
	pingEvery   = 12 * time.Second
	pingLimit   = 5 * time.Second
	dialLimit   = 5 * time.Second
	redialMin   = 50 * time.Millisecond
	redialMax   = 500 * time.Millisecond
	maxResponse = 16 << 20
	// Windows of fixed size: to measure a better one, gRPC would ping with each
	// answer, and let a stream whose reader is slow grow to 16 MiB.
	streamWindow = 1 << 20
	connWindow   = 8 << 20
)

// peers holds one connection to each other node.
type peers struct {
	*lookup
	mu     sync.Mutex
	conns  map[string]*grpc.ClientConn
	closed bool
}

// Peer returns the connection to the node of that id. It is made when it is
// first used and made again when it is lost; whoever answers there must prove
// to be that node. It is shared: nobody closes it.
func (p *peers) Peer(nodeID string) (grpc.ClientConnInterface, error) {
	conn, err := p.conn(nodeID)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (p *peers) conn(nodeID string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errShutdown
	}
	if conn, ok := p.conns[nodeID]; ok {
		return conn, nil
	}
	if !p.known(nodeID) {
		return nil, errs.New(errs.NotFound, "there is no node %s", nodeID)
	}
	conn, err := grpc.NewClient("passthrough:///"+nodeID, p.options(nodeID)...)
	if err != nil {
		return nil, errs.New(errs.Internal, "connect to node %s: %w", nodeID, err)
	}
	p.conns[nodeID] = conn
	return conn, nil
}

func (p *peers) options(nodeID string) []grpc.DialOption {
	ranges := protocol.EncodeRanges(p.cfg.Build.GetRanges())
	return []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(p.identity.Client(nodeID, pki.ALPNGRPC))),
		// Whether a proxy is used is decided here, not by the environment.
		grpc.WithNoProxy(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return p.dialTCP(nodeID) }),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingLimit}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: redialMin, Multiplier: 2, Jitter: 0.2, MaxDelay: redialMax},
			MinConnectTimeout: dialLimit,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(metadata.AppendToOutgoingContext(ctx, protocol.HeaderRanges, ranges), method, req, reply, cc, opts...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(metadata.AppendToOutgoingContext(ctx, protocol.HeaderRanges, ranges), desc, cc, method, opts...)
		}),
	}
}

// prune closes the connections to nodes that are members no more. The others
// look for their nodes often enough by themselves: grpc 1.85.0's
// ResetConnectBackoff reads a map that it does not guard.
func (p *peers) prune() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, conn := range p.conns {
		if !p.known(id) {
			conn.Close()
			delete(p.conns, id)
		}
	}
}

// warm connects to every member that is there, so that whoever is elected is
// reached at once: writers wait meanwhile.
func (p *peers) warm() {
	for _, n := range p.store.Read().Nodes() {
		if n.GetId() == p.NodeID() || p.gossip.State(n.GetId()) != gossip.Alive {
			continue
		}
		if conn, err := p.conn(n.GetId()); err == nil {
			conn.Connect()
		}
	}
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, conn := range p.conns {
		conn.Close()
	}
}
