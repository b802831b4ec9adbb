package cluster

import (
	"errors"
	"net"
	"sync"
	"time"
)

// network is what the nodes of a test dial through. It can cut a node off from
// all others: as with a pulled cable, except that both ends notice at once.
type network struct {
	mu    sync.Mutex
	cut   map[string]bool // by name of the node
	names map[string]string
	conns map[*link]bool
}

type link struct {
	net.Conn
	from, to string
	net      *network
}

func newNetwork() *network {
	return &network{cut: map[string]bool{}, names: map[string]string{}, conns: map[*link]bool{}}
}

// attach gives the node of that configuration a plug.
func (n *network) attach(cfg *Config) {
	from := cfg.Name
	cfg.dial = func(addr string, limit time.Duration) (net.Conn, error) {
		conn, err := net.DialTimeout("tcp", addr, limit)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		l := &link{Conn: conn, from: from, to: n.names[addr], net: n}
		if n.cut[l.from] || n.cut[l.to] {
			return nil, errors.Join(errors.New("no route to host"), conn.Close())
		}
		n.conns[l] = true
		return l, nil
	}
}

func (n *network) name(m *member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[m.Addr()] = m.cfg.Name
}

func (n *network) isolate(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[name] = true
	for l := range n.conns {
		if l.from == name || l.to == name {
			l.Conn.Close()
		}
	}
}

func (n *network) heal(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, name)
}

// Close implements net.Conn.
func (l *link) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	delete(l.net.conns, l)
	return l.Conn.Close()
}
