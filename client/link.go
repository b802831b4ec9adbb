package client

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"waypoint/api/versionpb"
)

const (
	maxMessage = 16 << 20 // bytes of one received message
	// Windows of fixed size: to measure a better one, gRPC would ping the server
	// with each answer, which costs as much as the call.
	streamWindow = 256 << 10
	connWindow   = 1 << 20
)

var errUsedUp = errors.New("the connection has ended")

// link is one connection to one node. It never dials twice: when its
// connection ends it is used up. It counts the calls and streams on it and
// closes when it is retired and the last of them has ended.
type link struct {
	addr    string
	cc      *grpc.ClientConn
	servers []string      // the members, as its node said first; nil if it did not
	gone    chan struct{} // closed by retire

	mu      sync.Mutex
	uses    int
	retired bool
}

// acquire counts a call; false if the link takes no new ones.
func (l *link) acquire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired {
		return false
	}
	l.uses++
	return true
}

// join counts a stream beside one that is on the link; false if there is none
// and the link takes no new ones.
func (l *link) join() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired && l.uses == 0 {
		return false
	}
	l.uses++
	return true
}

func (l *link) release() {
	l.mu.Lock()
	l.uses--
	last := l.retired && l.uses == 0
	l.mu.Unlock()
	if last {
		l.cc.Close()
	}
}

// retire lets no new call in.
func (l *link) retire() {
	l.mu.Lock()
	first := !l.retired
	l.retired = true
	idle := l.uses == 0
	l.mu.Unlock()
	if first {
		close(l.gone)
		if idle {
			l.cc.Close()
		}
	}
}

func (l *link) isRetired() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.retired
}

// connect makes a link: TCP, TLS, HTTP/2, and an answer to a first call, from
// which the servers' clock is known before anything is written.
func (c *Client) connect(ctx context.Context, addr string) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, c.tuning.connect)
	defer cancel()
	heard := &hearing{TransportCredentials: c.creds, reach: c.cfg.Dial}
	cc, err := grpc.NewClient("passthrough:///"+addr, c.dialOptions(heard)...)
	if err != nil {
		return nil, err
	}
	servers, err := c.establish(ctx, cc, heard)
	if err != nil {
		cc.Close()
		return nil, err
	}
	return &link{addr: addr, cc: cc, servers: servers, gone: make(chan struct{})}, nil
}

func (c *Client) dialOptions(heard *hearing) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(heard),
		grpc.WithContextDialer(heard.dial),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		// Our own limit comes first, so that a slow server is always told of
		// in the same words.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.DefaultConfig,
			MinConnectTimeout: 2 * c.tuning.connect,
		}),
		// A node that is gone without a word is noticed after Time plus
		// Timeout. A session that hears something every 10 s, as an idle
		// entrypoint does, never comes to the short wait after a ping.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 13 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
	}
}

// establish returns the members, if the node tells them.
func (c *Client) establish(ctx context.Context, cc *grpc.ClientConn, heard *hearing) (servers []string, err error) {
	cc.Connect()
	for s := cc.GetState(); s != connectivity.Ready; s = cc.GetState() {
		if s == connectivity.TransientFailure || s == connectivity.Shutdown {
			return nil, heard.reason(errors.New("the connection ended before HTTP/2 began"))
		}
		if !cc.WaitForStateChange(ctx, s) {
			return nil, heard.reason(unanswered(ctx, heard.missing()))
		}
	}
	var header, trailer metadata.MD
	sent := time.Now()
	got, err := versionpb.NewVersionClient(cc).Get(c.outgoing(ctx, ""), &versionpb.GetRequest{},
		grpc.Header(&header), grpc.Trailer(&trailer))
	c.session.learn(header, sent, time.Now())
	switch {
	case err == nil, status.Code(err) == codes.Unimplemented:
		return got.GetServers(), nil // even a server without that service has answered
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	case ctx.Err() != nil, status.Code(err) == codes.Canceled, status.Code(err) == codes.DeadlineExceeded:
		// The server knows our time limit, and may end the call just before us.
		return nil, errors.New("connected, but no answer to a first call in time")
	default:
		return nil, errors.New(status.Convert(err).Message())
	}
}

// unanswered says why a wait ended.
func unanswered(ctx context.Context, what string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New(what + " in time")
	}
	return ctx.Err()
}

// hearing dials and shakes hands once, and remembers what went wrong, which
// the library itself tells only inside a longer text.
type hearing struct {
	credentials.TransportCredentials
	reach func(ctx context.Context, addr string) (net.Conn, error)

	mu      sync.Mutex
	dialed  bool
	waiting string // for what, since the last step
	err     error
}

func (h *hearing) dial(ctx context.Context, addr string) (net.Conn, error) {
	h.mu.Lock()
	again := h.dialed
	h.dialed = true
	h.mu.Unlock()
	if again {
		return nil, errUsedUp
	}
	raw, err := h.reach(ctx, addr)
	h.note(err, "connected, but no TLS handshake")
	return raw, err
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{Control: control}).DialContext(ctx, "tcp", addr)
}

// ClientHandshake keeps the error of the TLS handshake.
func (h *hearing) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, raw)
	h.note(err, "connected, but no HTTP/2")
	return secure, info, err
}

// Clone keeps what was heard: one link has one of these.
func (h *hearing) Clone() credentials.TransportCredentials { return h }

// note keeps a step's error, or for what the next step waits.
func (h *hearing) note(err error, next string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.waiting = next
	case !errors.Is(err, context.Canceled):
		h.err = plainly(err)
	}
}

// plainly says an error of a connection in the same words each time: without
// the port that the system gave us, and without how exactly it was cut.
func plainly(err error) error {
	for _, cut := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, cut) {
			return errors.New("it closed the connection")
		}
	}
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "dial" || op.Op == "read" || op.Op == "write") {
		return op.Err
	}
	return err
}

// missing is what there is not yet.
func (h *hearing) missing() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == "" {
		return "no connection"
	}
	return h.waiting
}

// reason is what was heard, or the other error if nothing was.
func (h *hearing) reason(other error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return h.err
	}
	return other
}
