// Package client is the connection of a program to a cluster of servers. It
// holds one live connection to one node, moves to another node when that one
// fails, repeats unary calls under one request id, and carries the token, the
// protocol ranges and the session index. The command line, the runner and the
// entrypoint all use it, so it must stay small: it knows no service but
// Version and Cluster, of which it asks one method each, and it must not know
// what its callers call.
package client

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/protocol"
)

// Config says whom to talk to and as who.
type Config struct {
	// Addrs are the configured servers as host:port. They are tried in this
	// order unless Spread is set, and are never dropped.
	Addrs []string
	// CA is the cluster's certificate authority: PEM certificates, or
	// "sha256:" and the hex fingerprint of its certificate. It is required;
	// the system's roots are never used.
	CA string
	// Token is sent with each call; empty for anonymous calls.
	Token string
	// Ranges are the protocol ranges to send; nil: those of this build.
	Ranges *versionpb.Ranges
	// Spread chooses nodes at random and moves slowly towards an even spread
	// when nodes come back. Runners and entrypoints set it.
	Spread bool
	// Logger hears of moves between nodes; nil: nobody does.
	Logger hclog.Logger
	// Dial opens a TCP connection to host:port; nil: from this process. Tests
	// reach networks of their own with it.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// Client is a connection to a cluster. It dials when it is first used. All
// methods may be called from several goroutines.
type Client struct {
	cfg     Config
	ranges  string
	creds   credentials.TransportCredentials
	book    *book
	session session
	tuning  tuning
	moved   chan struct{}
	dialing chan struct{} // holds a token while somebody connects
	life    lifetime
	met     atomic.Bool // a server of the cluster has answered once

	mu      sync.Mutex
	current *link
	failed  string             // the node that the last current link failed on
	open    map[*link]struct{} // current and those that still carry streams
	closed  bool
	tasks   sync.WaitGroup
}

// tuning holds the times of a client, which tests shorten.
type tuning struct {
	connect time.Duration // for one address: TCP, TLS, HTTP/2 and a first answer
	stagger time.Duration // until the next address is tried beside a slow one
	attempt time.Duration // for the first attempt of a unary call; doubles with each
	unary   time.Duration // for a unary call whose context has no deadline
	longest time.Duration // for any unary call, half of the servers' dedupe window
	refresh time.Duration // between two questions for the members
}

func defaultTuning() tuning {
	return tuning{
		connect: 2 * time.Second,
		stagger: 250 * time.Millisecond,
		attempt: 4 * time.Second,
		unary:   15 * time.Second,
		longest: 5 * time.Minute,
		refresh: time.Minute,
	}
}

// New checks the configuration and makes a client; it does not dial. An
// unusable configuration is errs.Invalid.
func New(cfg Config) (*Client, error) {
	if len(cfg.Addrs) == 0 {
		return nil, errs.New(errs.Invalid, "no server address is configured")
	}
	for _, addr := range cfg.Addrs {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, errs.New(errs.Invalid, "server address %q is not host:port: %w", addr, err)
		}
	}
	creds, err := transportCredentials(cfg.CA)
	if err != nil {
		return nil, err
	}
	if cfg.Ranges == nil {
		cfg.Ranges = protocol.Current()
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.Dial == nil {
		cfg.Dial = dial
	}
	return &Client{
		cfg:     cfg,
		ranges:  protocol.EncodeRanges(cfg.Ranges),
		creds:   creds,
		book:    newBook(cfg.Addrs),
		tuning:  defaultTuning(),
		moved:   make(chan struct{}, 1),
		dialing: make(chan struct{}, 1),
		life:    newLifetime(),
		open:    make(map[*link]struct{}),
	}, nil
}

// Conn is what generated service clients take. Unary calls fail over between
// nodes and are repeated under one request id while that is safe. A stream
// opens on the current node and fails with it as errs.Unavailable; opening it
// again goes elsewhere. All errors are those of package errs.
func (c *Client) Conn() grpc.ClientConnInterface { return conn{c} }

// LearnServers adds addresses that a node has named.
func (c *Client) LearnServers(addrs []string) { c.book.add(addrs) }

// Current is the address of the node that new calls go to; empty when there
// is no connection now.
func (c *Client) Current() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return ""
	}
	return c.current.addr
}

// Avoid makes the next connection prefer other nodes than addr. If addr is the
// current node, new calls leave it at once; its open streams go on.
func (c *Client) Avoid(addr string) {
	c.book.mark(addr, "it asked us to go elsewhere")
	c.mu.Lock()
	l := c.current
	if l != nil && l.addr == addr {
		c.failed = addr
	}
	c.mu.Unlock()
	if l != nil && l.addr == addr {
		c.leave(l)
	}
}

// Prefer makes the next connection try these addresses first, best first.
func (c *Client) Prefer(addrs []string) { c.book.prefer(addrs) }

// Rebalance receives when a client with Spread has moved its new calls to
// another node for an even spread. Who holds a long stream opens another and
// then ends the old one, which goes on until then.
func (c *Client) Rebalance() <-chan struct{} { return c.moved }

// Close ends every call and stream and waits for the client's goroutines.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.current = nil
	links := make([]*link, 0, len(c.open))
	for l := range c.open {
		links = append(links, l)
	}
	c.mu.Unlock()
	c.life.end()
	for _, l := range links {
		l.retire()
		l.cc.Close()
	}
	c.tasks.Wait()
	return nil
}

// WithStale marks the calls of ctx as content with a stale answer: the node
// answers from its own state, even without a leader.
func WithStale(ctx context.Context) context.Context {
	return context.WithValue(ctx, staleKey{}, true)
}

// WithRequestID makes the unary calls of ctx use this request id, a ULID, so
// that a call repeated by the caller itself is done once.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// Sticky makes all streams of ctx, and of contexts made from it, go to the
// node that the first of them opened on, over the same connection, even when
// the client has moved its other calls elsewhere. When the last of them has
// ended, or the connection has, opening another is errs.Unavailable.
func Sticky(ctx context.Context) context.Context {
	return context.WithValue(ctx, seatKey{}, new(seat))
}

type (
	staleKey     struct{}
	requestIDKey struct{}
	seatKey      struct{}
)
