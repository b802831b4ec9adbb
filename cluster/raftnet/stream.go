// Package raftnet carries Raft's messages over connections that somebody else
// makes and checks. It must not know certificates, gossip or the state.
package raftnet

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Dialer opens a checked connection to the node of that id within timeout.
type Dialer func(nodeID string, timeout time.Duration) (net.Conn, error)

// Stream is Raft's stream layer. A server's Raft address is its node id, so
// that no address is ever written into Raft's configuration.
type Stream struct {
	id      string
	inbound <-chan net.Conn
	dial    Dialer

	mu     sync.Mutex
	open   map[*accepted]bool
	closed bool
	done   chan struct{}
}

// accepted is a connection of a peer that is closed with the stream layer:
// Raft's transport would wait for the peer to do so.
type accepted struct {
	net.Conn
	s *Stream
}

// NewStream makes the layer of the node of that id. The connections from
// inbound are its peers'.
func NewStream(nodeID string, inbound <-chan net.Conn, dial Dialer) *Stream {
	return &Stream{id: nodeID, inbound: inbound, dial: dial, open: make(map[*accepted]bool), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (s *Stream) Accept() (net.Conn, error) {
	select {
	case conn := <-s.inbound:
		return s.track(conn)
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *Stream) track(conn net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	a := &accepted{conn, s}
	s.open[a] = true
	return a, nil
}

// Close implements net.Conn.
func (a *accepted) Close() error {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	delete(a.s.open, a)
	return a.Conn.Close()
}

// Dial implements raft.StreamLayer.
func (s *Stream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.dial(string(addr), timeout)
}

// Close implements net.Listener. It closes the accepted connections too.
func (s *Stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.done)
	for a := range s.open {
		a.Conn.Close()
	}
	return nil
}

// Addr implements net.Listener. It is the node id.
func (s *Stream) Addr() net.Addr { return nodeAddr(s.id) }

type nodeAddr string

func (nodeAddr) Network() string  { return "waypoint-raft" }
func (a nodeAddr) String() string { return string(a) }

var _ raft.StreamLayer = (*Stream)(nil)

// Server returns a node's entry in Raft's configuration.
func Server(nodeID string, suffrage raft.ServerSuffrage) raft.Server {
	return raft.Server{ID: raft.ServerID(nodeID), Address: raft.ServerAddress(nodeID), Suffrage: suffrage}
}
