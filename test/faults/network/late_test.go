//go:build linux

package network

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPacketsWithoutRoomAreLost(t *testing.T) {
	l, due := newLate(), time.Now().Add(time.Hour)
	for range maxLate {
		if !l.add([]byte{1}, due) {
			t.Fatal("no room too early")
		}
	}
	if l.add([]byte{1}, due) {
		t.Error("there is always room")
	}
}

func TestTheEarliestPacketIsFirst(t *testing.T) {
	l, now := newLate(), time.Now()
	for _, n := range []byte{2, 0, 1} {
		l.add([]byte{n}, now.Add(time.Duration(int(n)-3)*time.Hour))
	}
	for want := range byte(3) {
		if packet, _ := l.take(); packet == nil || packet[0] != want {
			t.Fatalf("took %v, want %d", packet, want)
		}
	}
	if packet, wait := l.take(); packet != nil || wait <= 0 {
		t.Errorf("took %v from nothing, wait %s", packet, wait)
	}
}

func TestErrorsSayWhatIsMissing(t *testing.T) {
	for err, want := range map[error]string{unix.EPERM: "need root", unix.ENOENT: "TUN devices"} {
		if got := explain(err).Error(); !strings.Contains(got, want) {
			t.Errorf("%v becomes %q", err, got)
		}
	}
}
