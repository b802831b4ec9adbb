package hostile

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// The frames of HTTP/2 that hostile clients make by hand.
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameContinuation = 9

	endStream  = 1
	endHeaders = 4
)

// raw is a connection whose HTTP/2 is made by hand.
type raw struct {
	net.Conn
	t *testing.T
}

// dialTLS connects to the API and shakes hands.
func dialTLS(t *testing.T, addr string) *raw {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr,
		&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatalf("connect to %s: %v", addr, err)
	}
	t.Cleanup(func() { conn.Close() })
	return &raw{conn, t}
}

// dialHTTP2 is dialTLS with the connection's beginning.
func dialHTTP2(t *testing.T, addr string) *raw {
	t.Helper()
	r := dialTLS(t, addr)
	r.send(append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, nil)...))
	return r
}

// send reports whether the connection took the bytes within a moment.
func (r *raw) send(bytes []byte) bool {
	r.SetWriteDeadline(time.Now().Add(2 * time.Second))
	_, err := r.Write(bytes)
	return err == nil
}

// ended reports whether the other side ends the connection within the limit. It
// reads what comes and answers nothing.
func (r *raw) ended(limit time.Duration) bool {
	r.SetReadDeadline(time.Now().Add(limit))
	_, err := io.Copy(io.Discard, r)
	timeout, ok := err.(net.Error)
	return !ok || !timeout.Timeout()
}

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(head, stream), payload...)
}

// block encodes headers, each as a literal without compression.
func block(pairs ...string) []byte {
	var b []byte
	for i := 0; i+1 < len(pairs); i += 2 {
		b = append(b, 0)
		for _, text := range pairs[i : i+2] {
			b = append(length(b, len(text)), text...)
		}
	}
	return b
}

// length is HPACK's integer with a prefix of seven bits.
func length(b []byte, n int) []byte {
	if n < 127 {
		return append(b, byte(n))
	}
	b = append(b, 127)
	for n -= 127; n >= 128; n >>= 7 {
		b = append(b, byte(n)|128)
	}
	return append(b, byte(n))
}

// call is the headers of a gRPC call.
func call(method string, more ...string) []byte {
	return block(append([]string{
		":method", "POST", ":scheme", "https", ":path", method, ":authority", "x", "content-type", "application/grpc", "te", "trailers",
	}, more...)...)
}

// message is a gRPC message that claims a length.
func message(claimed uint32, content []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, claimed), content...)
}

// ending tells a connection that was ended from one that says nothing.
func ending(err error) string {
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		return nothing
	}
	return cut
}
