package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"waypoint/internal/wait"
)

// ended reports whether the other side has closed the connection.
func ended(conn net.Conn) bool {
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func TestSilentStreamsKeepNobodyOut(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil, 1)
	var silent []net.Conn
	for range maxStreams + 10 {
		conn, err := net.Dial("tcp", a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		silent = append(silent, conn)
	}
	wait.For(t, streamLimit, "the oldest to make room", func() bool { return ended(silent[0]) && ended(silent[9]) })
	b := start(t, "b", map[string]string{"a": a.Addr()}, 1)
	sees(t, a, "b", Alive)
	sees(t, b, "a", Alive)
}

// The length stands before what only a member can encrypt.
func TestAStreamIsNotReadWithoutEnd(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil, 1)
	conn, err := net.Dial("tcp", a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const encrypted, claimed = 10, 16 << 20
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Write([]byte{encrypted, claimed >> 24, 0, 0, 0})
	for total := 0; err == nil; total += 64 << 10 {
		if total > claimed {
			t.Fatal("all of it was taken")
		}
		_, err = conn.Write(make([]byte, 64<<10))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the stream was neither read nor ended: %v", err)
	}
}

func TestNoiseIsLeftOutAndCounted(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1_700_000_000, 0)
	n := &noise{out: &out, now: func() time.Time { return now }}
	for i := range noiseBurst + 7 {
		fmt.Fprintf(n, "[ERR] memberlist: packet %d\n", i)
		io.WriteString(n, "[DEBUG] memberlist: stream\n")
	}
	if lines := strings.Count(out.String(), "[ERR]"); lines != noiseBurst {
		t.Errorf("%d lines passed", lines)
	}
	if lines := strings.Count(out.String(), "[DEBUG]"); lines != noiseBurst+7 {
		t.Errorf("%d lines passed that are no noise", lines)
	}
	out.Reset()
	now = now.Add(noiseEvery)
	io.WriteString(n, "[WARN] memberlist: one\n")
	io.WriteString(n, "[WARN] memberlist: two\n")
	if want := "[WARN] memberlist: one (and 7 more lines that are left out)\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
	out.Reset()
	now = now.Add(time.Hour)
	for range noiseBurst {
		io.WriteString(n, "[ERR] memberlist: again\n")
	}
	if lines := strings.Count(out.String(), "again\n"); lines != noiseBurst-1 {
		t.Errorf("%d lines passed after an hour: %q", lines, out.String())
	}
}
