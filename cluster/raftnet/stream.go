// Package raftnet carries Raft's messages over connections that somebody else
// makes and checks. It must not know certificates, gossip or the state.
package raftnet

import (
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

	once sync.Once
	done chan struct{}
}

// NewStream makes the layer of the node of that id. The connections from
// inbound are its peers'.
func NewStream(nodeID string, inbound <-chan net.Conn, dial Dialer) *Stream {
	return &Stream{id: nodeID, inbound: inbound, dial: dial, done: make(chan struct{})}
}

// Accept implements net.Listener.
func (s *Stream) Accept() (net.Conn, error) {
	select {
	case conn := <-s.inbound:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Dial implements raft.StreamLayer.
func (s *Stream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.dial(string(addr), timeout)
}

// Close implements net.Listener.
func (s *Stream) Close() error {
	s.once.Do(func() { close(s.done) })
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
