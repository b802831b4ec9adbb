package gossip

import (
	"container/list"
	"io"
	"net"
	"sync"

	"github.com/hashicorp/memberlist"
)

const (
	// maxStreams bounds the streams at a time that others have opened. The library
	// holds each for as long as streamLimit, and what it sends until it is whole,
	// before it looks for the key. The oldest makes room.
	maxStreams = 128
	// maxStream bounds what is read of one, in bytes. It is the state of all nodes,
	// each of which has less than a kilobyte.
	maxStream = 1 << 20
)

// door is the network with bounds on what strangers can make a node hold.
type door struct {
	*memberlist.NetTransport
	streams chan net.Conn
	done    chan struct{} // closed when no stream is handed out any more
	ended   chan struct{} // closed when there are no more
	passing sync.WaitGroup
	once    sync.Once

	mu   sync.Mutex
	open *list.List // of *stream, oldest first
}

func newDoor(conf *memberlist.Config) (*door, error) {
	settings := &memberlist.NetTransportConfig{BindAddrs: []string{conf.BindAddr}, BindPort: conf.BindPort, Logger: conf.Logger}
	network, err := memberlist.NewNetTransport(settings)
	// Any port must be free for datagrams and for streams, and the system finds it
	// for one of them.
	for tries := 1; err != nil && conf.BindPort == 0 && tries < 10; tries++ {
		network, err = memberlist.NewNetTransport(settings)
	}
	if err != nil {
		return nil, err
	}
	d := &door{NetTransport: network, streams: make(chan net.Conn), done: make(chan struct{}), ended: make(chan struct{}), open: list.New()}
	d.passing.Go(d.pass)
	return d, nil
}

// StreamCh implements memberlist.Transport.
func (d *door) StreamCh() <-chan net.Conn { return d.streams }

// Shutdown implements memberlist.Transport.
func (d *door) Shutdown() (err error) {
	d.once.Do(func() {
		close(d.done)
		err = d.NetTransport.Shutdown()
		close(d.ended)
	})
	d.passing.Wait()
	return err
}

// pass hands streams to the library. The network does not end before all of
// its streams are taken.
func (d *door) pass() {
	for {
		select {
		case conn := <-d.NetTransport.StreamCh():
			select {
			case d.streams <- d.enter(conn):
			case <-d.done:
				conn.Close()
			}
		case <-d.ended:
			return
		}
	}
}

func (d *door) enter(conn net.Conn) net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open.Len() >= maxStreams {
		oldest := d.open.Front()
		d.open.Remove(oldest).(*stream).Conn.Close()
	}
	s := &stream{Conn: conn, d: d, left: maxStream}
	s.entry = d.open.PushBack(s)
	return s
}

// stream is one that another has opened.
type stream struct {
	net.Conn
	d     *door
	entry *list.Element
	left  int // bytes to read; only its reader uses it
}

// Read implements net.Conn. It ends after maxStream bytes.
func (s *stream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := s.Conn.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

// Close implements net.Conn.
func (s *stream) Close() error {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.open.Remove(s.entry)
	return s.Conn.Close()
}

var _ memberlist.NodeAwareTransport = (*door)(nil)
