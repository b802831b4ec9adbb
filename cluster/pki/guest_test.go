package pki

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"waypoint/internal/wait"
)

// guests is a listener whose connections are taken, and the fingerprint of its
// authority.
type guests struct {
	*Listener
	config *tls.Config
	taken  chan AuthInfo
}

func takeGuests(t *testing.T) *guests {
	t.Helper()
	ca := authority(t)
	l := listen(t, identity(t, ca, "a"))
	config, err := Pinned(clusterID, Fingerprint(ca.DER))
	if err != nil {
		t.Fatal(err)
	}
	g := &guests{Listener: l, config: config, taken: make(chan AuthInfo, 2*maxPending)}
	go func() {
		for {
			conn, err := l.GRPC().Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			_, info, err := ServerCredentials().ServerHandshake(conn)
			if err != nil {
				t.Error(err)
				return
			}
			g.taken <- info.(AuthInfo)
		}
	}()
	return g
}

func (g *guests) come(t *testing.T) (net.Conn, AuthInfo) {
	t.Helper()
	conn, err := tls.Dial("tcp", g.Addr().String(), g.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, <-g.taken
}

func (g *guests) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pending.Len()
}

// ended reports whether the other side has closed the connection.
func ended(conn net.Conn) bool {
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	timeout := net.Error(nil)
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

func TestGuestsMakeRoomAndThoseWhoAreKnownDoNot(t *testing.T) {
	g := takeGuests(t)
	first, _ := g.come(t)
	second, info := g.come(t)
	info.Known()
	info.Known()
	if n := g.waiting(); n != 1 {
		t.Fatalf("%d connections are pending", n)
	}
	for range maxPending {
		conn, err := net.Dial("tcp", g.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	wait.For(t, 10*time.Second, "the oldest guest to make room", func() bool { return ended(first) })
	if ended(second) {
		t.Error("a known caller's connection made room")
	}
}

func TestAGuestThatLeavesIsForgotten(t *testing.T) {
	g := takeGuests(t)
	_, info := g.come(t)
	info.guest.Close()
	if n := g.waiting(); n != 0 {
		t.Errorf("%d connections are pending", n)
	}
}

func TestAGuestHasFewCallsAtATime(t *testing.T) {
	g := takeGuests(t)
	conn, info := g.come(t)
	var leave func()
	for range guestStreams {
		var ok bool
		if leave, ok = info.Enter(); !ok || leave == nil {
			t.Fatal("refused")
		}
	}
	leave()
	if leave, ok := info.Enter(); !ok || leave == nil {
		t.Fatal("refused although one has ended")
	}
	if _, ok := info.Enter(); ok {
		t.Error("one too many was let in")
	}
	wait.For(t, 10*time.Second, "the connection's end", func() bool { return ended(conn) })

	_, info = g.come(t)
	info.Known()
	for range 10 * guestStreams {
		if leave, ok := info.Enter(); !ok || leave != nil {
			t.Fatal("a known caller's calls are counted")
		}
	}
}

func TestAGuestMaySendLittle(t *testing.T) {
	g := takeGuests(t)
	conn, info := g.come(t)
	known, friend := g.come(t)
	friend.Known()
	for _, c := range []net.Conn{conn, known} {
		go func() { _, _ = c.Write(make([]byte, 2*guestBytes)) }()
	}
	n, err := io.Copy(io.Discard, info.guest)
	if !errors.Is(err, errTooMuch) || n > guestBytes {
		t.Errorf("%d bytes of a stranger were read: %v", n, err)
	}
	if _, err := io.CopyN(io.Discard, friend.guest, 2*guestBytes); err != nil {
		t.Errorf("a known caller's bytes: %v", err)
	}
}

func TestTheHolderOfACertificateIsKnown(t *testing.T) {
	ca := authority(t)
	l := listen(t, identity(t, ca, "a"))
	go func() {
		if err := dial(l, identity(t, ca, "b").Client("a", ALPNGRPC)); err != nil {
			t.Error(err)
		}
	}()
	conn, err := l.GRPC().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !conn.(*guest).known.Load() {
		t.Error("it is taken for a stranger")
	}
}
