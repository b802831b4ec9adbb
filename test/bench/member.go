package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"waypoint/api/entrypointpb"
	"waypoint/api/versionpb"
	"waypoint/internal/ids"
	"waypoint/protocol"
	"waypoint/version"
)

// A simulated instance makes the calls that an entrypoint makes, on a TLS
// connection of its own: Version.Get, then Attach. It does so with the few frames
// of HTTP/2 that this takes, because a whole client would cost more than the
// servers that are measured, on the same processors.

// The kinds and flags of HTTP/2 frames that are used (RFC 9113).
const (
	frameData     = 0x0
	frameHeaders  = 0x1
	frameReset    = 0x3
	frameSettings = 0x4
	framePing     = 0x6
	frameGoAway   = 0x7
	frameWindow   = 0x8

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4

	frameHead = 9
	grpcHead  = 5
	preface   = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	window    = 8 << 20 // bytes that the node may send without being told to go on

	streamVersion = 1
	streamAttach  = 3
)

// callers is what all simulated instances send in the same words.
type callers struct {
	tls             *tls.Config
	version, attach []byte // headers of the two calls, in this order
}

func newCallers(ca, token string) (*callers, error) {
	digits, pinned := strings.CutPrefix(ca, "sha256:")
	pin, err := hex.DecodeString(digits)
	if err != nil || !pinned {
		return nil, fmt.Errorf("%q is no fingerprint of a CA", ca)
	}
	return &callers{
		tls: &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, InsecureSkipVerify: true,
			VerifyConnection: func(s tls.ConnectionState) error { return shows(s, pin) },
		},
		version: callHeaders(versionpb.Version_Get_FullMethodName, token),
		attach:  callHeaders(entrypointpb.Entrypoint_Attach_FullMethodName, token),
	}, nil
}

// shows tells whether the chain has the authority with this fingerprint.
func shows(s tls.ConnectionState, pin []byte) error {
	for _, cert := range s.PeerCertificates {
		if sum := sha256.Sum256(cert.Raw); string(sum[:]) == string(pin) {
			return nil
		}
	}
	return errors.New("the server's chain lacks the cluster's CA")
}

// callHeaders encodes what begins a call: literals that the other side is to
// remember, as gRPC's own client does it (RFC 7541, section 6.2.1).
func callHeaders(method, token string) []byte {
	var out []byte
	text := func(s string) {
		if len(s) >= 127 { // a 7-bit prefix that is full, and the rest
			out = append(out, 127)
			out = binary.AppendUvarint(out, uint64(len(s)-127))
		} else {
			out = append(out, byte(len(s)))
		}
		out = append(out, s...)
	}
	for _, h := range [][2]string{
		{":method", "POST"}, {":scheme", "https"}, {":path", method}, {":authority", "waypoint"},
		{"content-type", "application/grpc"}, {"user-agent", "waypoint-bench"}, {"te", "trailers"},
		{protocol.HeaderRanges, protocol.EncodeRanges(protocol.Current())},
		{protocol.HeaderAuthorization, "Bearer " + token},
	} {
		out = append(out, 0x40)
		text(h[0])
		text(h[1])
	}
	return out
}

// member is one simulated instance.
type member struct {
	conn   net.Conn
	buf    []byte
	frame  []byte // content of the newest frame
	data   []byte // of the attach stream, not yet a whole message
	gotten func(*entrypointpb.Down)

	mu sync.Mutex // guards writing
}

// join connects, makes the calls and returns after the welcome.
func (c *callers) join(ctx context.Context, addr string, gotten func(*entrypointpb.Down)) (m *member, err error) {
	dialer := tls.Dialer{Config: c.tls}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	m = &member{conn: conn, gotten: gotten}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	settings := binary.BigEndian.AppendUint32([]byte{0, 4}, window) // SETTINGS_INITIAL_WINDOW_SIZE
	hello := appendFrame([]byte(preface), frameSettings, 0, 0, settings)
	hello = appendFrame(hello, frameWindow, 0, 0, binary.BigEndian.AppendUint32(nil, window))
	hello = appendFrame(hello, frameHeaders, flagEndHeaders, streamVersion, c.version)
	hello = appendFrame(hello, frameData, flagEndStream, streamVersion, make([]byte, grpcHead))
	if _, err := conn.Write(hello); err != nil {
		return nil, err
	}
	if err := m.until(streamVersion); err != nil {
		return nil, fmt.Errorf("first call: %w", err)
	}
	up, err := proto.Marshal(&entrypointpb.Up{Kind: &entrypointpb.Up_Hello{Hello: &entrypointpb.Hello{
		InstanceId: ids.New(), Generation: 1, Build: version.Build(), Host: "bench",
		Child: &entrypointpb.ChildState{Pid: 1, Starts: 1},
	}}})
	if err != nil {
		return nil, err
	}
	call := appendFrame(nil, frameHeaders, flagEndHeaders, streamAttach, c.attach)
	call = appendFrame(call, frameData, 0, streamAttach, message(up))
	if _, err := conn.Write(call); err != nil {
		return nil, err
	}
	return m, m.welcome()
}

// until reads frames until a call has been answered.
func (m *member) until(stream uint32) error {
	for {
		kind, flags, of, err := m.read()
		if err != nil {
			return err
		}
		if of == stream && kind == frameHeaders && flags&flagEndStream != 0 {
			return nil
		}
	}
}

func (m *member) welcome() error {
	welcomed := false
	gotten := m.gotten
	m.gotten = func(d *entrypointpb.Down) {
		welcomed = welcomed || d.GetWelcome() != nil
		gotten(d)
	}
	defer func() { m.gotten = gotten }()
	for !welcomed {
		if _, _, _, err := m.read(); err != nil {
			return fmt.Errorf("attach: %w", err)
		}
	}
	return nil
}

// receive takes what the node sends until the connection ends.
func (m *member) receive() error {
	for {
		if _, _, _, err := m.read(); err != nil {
			return err
		}
	}
}

// ping is the sign of life that an entrypoint gives each 10 s.
func (m *member) ping() error {
	up := []byte{4 << 3, 1} // Up.ping = true
	return m.write(appendFrame(nil, frameData, 0, streamAttach, message(up)))
}

func (m *member) write(frame []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.conn.Write(frame)
	return err
}

// read reads one frame, answers it if it wants that, and hands messages of the
// attach stream on.
func (m *member) read() (kind, flags byte, stream uint32, err error) {
	var head [frameHead]byte
	if err := m.full(head[:]); err != nil {
		return 0, 0, 0, err
	}
	kind, flags = head[3], head[4]
	stream = binary.BigEndian.Uint32(head[5:])
	size := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if cap(m.frame) < size {
		m.frame = make([]byte, size)
	}
	m.frame = m.frame[:size]
	if err := m.full(m.frame); err != nil {
		return 0, 0, 0, err
	}
	switch {
	case kind == frameSettings && flags&flagAck == 0:
		err = m.write(appendFrame(nil, frameSettings, flagAck, 0, nil))
	case kind == framePing && flags&flagAck == 0:
		err = m.write(appendFrame(nil, framePing, flagAck, 0, m.frame))
	case kind == frameGoAway, stream == streamAttach && (kind == frameReset || kind == frameHeaders && flags&flagEndStream != 0):
		err = errors.New("the node ended the stream")
	case kind == frameData && stream == streamAttach:
		err = m.messages()
	}
	return kind, flags, stream, err
}

// messages hands on what has come as a whole.
func (m *member) messages() error {
	m.data = append(m.data, m.frame...)
	for len(m.data) >= grpcHead {
		end := grpcHead + int(binary.BigEndian.Uint32(m.data[1:]))
		if len(m.data) < end {
			return nil
		}
		var down entrypointpb.Down
		if err := proto.Unmarshal(m.data[grpcHead:end], &down); err != nil {
			return err
		}
		m.gotten(&down)
		m.data = m.data[end:]
	}
	if len(m.data) == 0 {
		m.data = nil
	}
	return nil
}

// full fills p from the connection.
func (m *member) full(p []byte) error {
	for len(p) > 0 {
		if len(m.buf) == 0 {
			var chunk [1024]byte
			n, err := m.conn.Read(chunk[:])
			if n == 0 && err != nil {
				return err
			}
			m.buf = append(m.buf, chunk[:n]...)
		}
		n := copy(p, m.buf)
		p, m.buf = p[n:], m.buf[n:]
	}
	return nil
}

func appendFrame(to []byte, kind, flags byte, stream uint32, content []byte) []byte {
	n := len(content)
	to = append(to, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	to = binary.BigEndian.AppendUint32(to, stream)
	return append(to, content...)
}

// message puts gRPC's head before an encoded message.
func message(encoded []byte) []byte {
	head := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(encoded)))
	return append(head, encoded...)
}
