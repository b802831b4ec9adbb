package pki

import (
	"container/list"
	"crypto/tls"
	"errors"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
)

const (
	// guestStreams bounds the calls at a time on one guest's connection.
	guestStreams = 100
	// guestBytes bounds what is read of it in all. What anonymous calls send are a
	// few hundred bytes, and a request to join some kilobytes.
	guestBytes = 256 << 10
)

var errTooMuch = errors.New("too much was sent on a connection that has shown no valid token")

// guest is a connection of gRPC. It is among the listener's pending ones, of
// which the oldest makes room for a new one, until a call on it was admitted as
// one of somebody who is known: strangers cannot keep others out by coming in
// great numbers, whatever they say.
type guest struct {
	*tls.Conn
	l       *Listener
	entry   *list.Element
	known   atomic.Bool
	streams atomic.Int32 // while it is not known
	read    int          // bytes; only its reader uses it
}

// Read implements net.Conn. A connection that shows a token does so before what
// it sends is counted: whoever finds the token says so between two reads.
func (g *guest) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if !g.known.Load() {
		if g.read += n; g.read > guestBytes {
			return 0, errTooMuch
		}
	}
	return n, err
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.l.leave(g.entry)
	return g.Conn.Close()
}

// AuthInfo is what a gRPC call knows of its connection.
type AuthInfo struct {
	credentials.TLSInfo
	guest *guest
}

// ConnectionState returns the connection's TLS state.
func (a AuthInfo) ConnectionState() tls.ConnectionState { return a.State }

// Known says that the caller has proved who it is: from now on the connection
// makes no room for others.
func (a AuthInfo) Known() {
	if !a.guest.known.Load() && a.guest.known.CompareAndSwap(false, true) {
		a.guest.l.leave(a.guest.entry)
	}
}

// IsKnown tells whether the caller has proved who it is.
func (a AuthInfo) IsKnown() bool { return a.guest.known.Load() }

// Enter counts a call. If too many are open on a connection whose caller nobody
// knows, it ends the connection and returns false: to refuse each further one
// would cost more than the caller pays. If leave is not nil, it must be called at
// the call's end.
func (a AuthInfo) Enter() (leave func(), ok bool) {
	if a.guest.known.Load() {
		return nil, true
	}
	if a.guest.streams.Add(1) > guestStreams {
		a.guest.NetConn().Close() // its user sees that and closes the rest
		return nil, false
	}
	return func() { a.guest.streams.Add(-1) }, true
}
