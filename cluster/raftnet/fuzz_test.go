package raftnet

import (
	"bytes"
	"io"
	"net"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Whatever a peer sends: the transport does not fail, holds no more memory than
// the bytes that came deserve, and ends the connection when they end.
func FuzzStream(f *testing.F) {
	for _, message := range spoken(f) {
		f.Add(message)
		f.Add(append(message, message...))
	}
	f.Add([]byte{0})
	f.Add([]byte{3, 0x81, 0xa4, 'S', 'i', 'z', 'e', 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(append([]byte{0, 0x81, 0xa7, 'E', 'n', 't', 'r', 'i', 'e', 's', 0xdd}, 0xff, 0xff, 0xff, 0xff))
	f.Add(append([]byte{0, 0x81, 0xa4, 'A', 'd', 'd', 'r', 0xc6}, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3))
	f.Add(append([]byte{1}, bytes.Repeat([]byte{0x91}, 5000)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := allocated()
		peer := listening(t)
		peer.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := peer.Write(data); err == nil {
			// The answers to whole messages, until the transport has seen the end.
			peer.(*net.TCPConn).CloseWrite()
			_, err = io.Copy(io.Discard, peer)
			if err, ok := err.(net.Error); ok && err.Timeout() {
				t.Fatal("the connection does not end")
			}
		}
		const fixed, share = 8 << 20, 256
		if grown := allocated() - before; grown > fixed+share*uint64(len(data)) {
			t.Fatalf("%d bytes made it allocate %d", len(data), grown)
		}
	})
}

// listening is a peer's connection to a transport whose node answers every
// message.
func listening(t *testing.T) net.Conn {
	t.Helper()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	peer, err := net.Dial("tcp", port.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := port.Accept()
	if err != nil {
		t.Fatal(err)
	}
	inbound := make(chan net.Conn, 1)
	inbound <- accepted
	tr := NewTransport(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: NewStream("a", inbound, nil), MaxPool: 1, Timeout: time.Second, Logger: hclog.NewNullLogger(),
	}), func(_ uint64, handle func()) bool { return false })
	tr.SetHeartbeatHandler(func(raft.RPC) {})
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case rpc := <-tr.Consumer():
				if rpc.Reader != nil {
					_, _ = io.Copy(io.Discard, rpc.Reader)
				}
				rpc.Respond(&raft.AppendEntriesResponse{}, nil)
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		peer.Close()
		close(done)
		<-ended
		tr.Close()
	})
	return peer
}

// spoken returns messages as Raft's transport sends them.
func spoken(f *testing.F) [][]byte {
	f.Helper()
	header := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("b"), Addr: []byte("b")}
	entries := []*raft.Log{{Index: 7, Term: 2, Type: raft.LogCommand, Data: []byte("data"), AppendedAt: time.Unix(1_700_000_000, 0)}}
	calls := []func(*raft.NetworkTransport){
		func(n *raft.NetworkTransport) {
			_ = n.AppendEntries("a", "a", &raft.AppendEntriesRequest{RPCHeader: header, Term: 2}, &raft.AppendEntriesResponse{})
		},
		func(n *raft.NetworkTransport) {
			_ = n.AppendEntries("a", "a", &raft.AppendEntriesRequest{RPCHeader: header, Term: 2, PrevLogEntry: 6, PrevLogTerm: 2, Entries: entries}, &raft.AppendEntriesResponse{})
		},
		func(n *raft.NetworkTransport) {
			_ = n.RequestVote("a", "a", &raft.RequestVoteRequest{RPCHeader: header, Term: 3, LastLogIndex: 7}, &raft.RequestVoteResponse{})
		},
		func(n *raft.NetworkTransport) {
			_ = n.RequestPreVote("a", "a", &raft.RequestPreVoteRequest{RPCHeader: header, Term: 3, LastLogIndex: 7}, &raft.RequestPreVoteResponse{})
		},
		func(n *raft.NetworkTransport) {
			_ = n.TimeoutNow("a", "a", &raft.TimeoutNowRequest{RPCHeader: header}, &raft.TimeoutNowResponse{})
		},
		func(n *raft.NetworkTransport) {
			_ = n.InstallSnapshot("a", "a", &raft.InstallSnapshotRequest{RPCHeader: header, Term: 3, Size: 5, Configuration: []byte("c")},
				&raft.InstallSnapshotResponse{}, bytes.NewReader([]byte("state")))
		},
	}
	var all [][]byte
	for _, call := range calls {
		near, far := net.Pipe()
		n := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:  NewStream("b", nil, func(string, time.Duration) (net.Conn, error) { return near, nil }),
			MaxPool: 1, Timeout: time.Second, Logger: hclog.NewNullLogger(),
		})
		heard := make(chan []byte)
		go func() {
			buffer := make([]byte, 4096)
			var message []byte
			for {
				far.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				n, err := far.Read(buffer)
				message = append(message, buffer[:n]...)
				if err != nil && len(message) > 0 || err == io.EOF {
					break
				}
			}
			far.Close()
			heard <- message
		}()
		call(n)
		all = append(all, <-heard)
		n.Close()
	}
	return all
}

// allocated is how many bytes this process has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
