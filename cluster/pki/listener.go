package pki

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/internal/backoff"
)

const (
	// handshakeLimit bounds a connection from accept until somebody serves it.
	handshakeLimit = 10 * time.Second
	// maxPending bounds the connections of which it is not known who is at the
	// other end. The one that has waited longest makes room, so they keep nobody
	// else out.
	maxPending = 1024
)

// Listener is the shared port: it does the TLS handshakes and hands each
// connection to the side whose protocol it speaks.
type Listener struct {
	tcp    net.Listener
	config *tls.Config
	logger hclog.Logger
	grpc   *queue
	raft   *queue
	admit  func(tls.ConnectionState) bool

	mu      sync.Mutex
	pending *list.List // of net.Conn, oldest first
	closed  bool
	serving sync.WaitGroup
}

// Listen opens the port. Raft connections are let in only if admit says so of
// their state. Nothing is accepted before Run.
func Listen(addr string, identity *Identity, admit func(tls.ConnectionState) bool, logger hclog.Logger) (*Listener, error) {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the API on %s: %w", addr, err)
	}
	return &Listener{
		tcp:     tcp,
		config:  identity.Server(),
		logger:  logger,
		grpc:    newQueue(tcp.Addr()),
		raft:    newQueue(tcp.Addr()),
		admit:   admit,
		pending: list.New(),
	}, nil
}

// Addr returns the bound address.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// GRPC returns the connections that speak HTTP/2, with the handshake done. They
// are for a server with ServerCredentials.
func (l *Listener) GRPC() net.Listener { return l.grpc }

// Raft returns the connections of Raft peers.
func (l *Listener) Raft() <-chan net.Conn { return l.raft.conns }

// Run accepts connections until Close, or until ctx ends.
func (l *Listener) Run(ctx context.Context) error {
	defer l.serving.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	pause := backoff.New(5*time.Millisecond, time.Second)
	for {
		conn, err := l.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			// Such as too many open files, which passes.
			l.logger.Warn("accept failed", "error", err)
			if pause.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		pause.Reset()
		if entry := l.enter(conn); entry != nil {
			l.serving.Go(func() { l.serve(conn, entry) })
		}
	}
}

// enter counts a connection as pending.
func (l *Listener) enter(conn net.Conn) *list.Element {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		conn.Close()
		return nil
	}
	if l.pending.Len() >= maxPending {
		oldest := l.pending.Front()
		l.pending.Remove(oldest).(net.Conn).Close()
	}
	return l.pending.PushBack(conn)
}

func (l *Listener) leave(entry *list.Element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.Remove(entry)
}

// serve does one handshake and hands the connection over, or closes it.
func (l *Listener) serve(conn net.Conn, entry *list.Element) {
	if !l.handOver(conn, entry) {
		conn.Close()
		l.leave(entry)
	}
}

func (l *Listener) handOver(conn net.Conn, entry *list.Element) bool {
	deadline := time.NewTimer(handshakeLimit)
	defer deadline.Stop()
	conn.SetDeadline(time.Now().Add(handshakeLimit))
	secure := tls.Server(conn, l.config)
	if err := secure.Handshake(); err != nil {
		l.logger.Debug("handshake failed", "remote", conn.RemoteAddr(), "error", err)
		return false
	}
	conn.SetDeadline(time.Time{})
	state := secure.ConnectionState()
	switch target := l.route(state); target {
	case nil:
		return false
	case l.raft:
		l.leave(entry) // it is a member's
		return target.put(secure, deadline.C)
	default:
		g := &guest{Conn: secure, l: l, entry: entry}
		if len(state.VerifiedChains) > 0 {
			AuthInfo{guest: g}.Known() // a certificate of the cluster's own CA
		}
		return target.put(g, deadline.C)
	}
}

// route returns who serves a connection; nil: nobody.
func (l *Listener) route(state tls.ConnectionState) *queue {
	switch state.NegotiatedProtocol {
	case ALPNGRPC:
		return l.grpc
	case ALPNRaft:
		if l.admit(state) {
			return l.raft
		}
		l.logger.Warn("refused a Raft connection of a node that is not a member")
	}
	return nil
}

// Close stops accepting and closes the connections that nobody serves yet.
func (l *Listener) Close() error {
	err := l.tcp.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	l.grpc.Close()
	l.raft.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for e := l.pending.Front(); e != nil; e = e.Next() {
		e.Value.(net.Conn).Close()
	}
	return err
}

// queue hands connections from the port to one of its users.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// put reports whether somebody took the connection in time.
func (q *queue) put(conn net.Conn, late <-chan time.Time) bool {
	select {
	case q.conns <- conn:
		return true
	case <-late:
	case <-q.done:
	}
	return false
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The other queue goes on.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.addr }

var _ net.Listener = (*queue)(nil)
