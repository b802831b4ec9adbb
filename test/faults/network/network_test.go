//go:build linux

package network_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waypoint/internal/wait"
	"waypoint/test/faults/network"
)

// limit is how long a test waits for anything.
const limit = 20 * time.Second

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hosts makes a network of n hosts for the time of the test.
func hosts(t *testing.T, n int) (*network.Network, []*network.Host) {
	t.Helper()
	net, err := network.New(7)
	check(t, err)
	t.Cleanup(func() { check(t, net.Close()) })
	for range n {
		_, err := net.Add("host")
		check(t, err)
	}
	return net, net.Hosts()
}

// receiver takes numbered packets in a host.
type receiver struct {
	host *network.Host
	conn net.PacketConn
	done sync.WaitGroup

	mu    sync.Mutex
	order []uint32
	times []time.Time
}

func receive(t *testing.T, h *network.Host) *receiver {
	t.Helper()
	r := &receiver{host: h}
	check(t, h.Do(func() (err error) {
		r.conn, err = net.ListenPacket("udp", net.JoinHostPort(h.Addr(), "7000"))
		return err
	}))
	r.done.Go(func() {
		for packet := make([]byte, 100); ; {
			if _, _, err := r.conn.ReadFrom(packet); err != nil {
				return
			}
			r.mu.Lock()
			r.order = append(r.order, binary.BigEndian.Uint32(packet))
			r.times = append(r.times, time.Now())
			r.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		check(t, r.conn.Close())
		r.done.Wait()
	})
	return r
}

// got returns the numbers that came, in their order.
func (r *receiver) got() []uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.order)
}

// send sends packets numbered from 0 to a receiver and waits until the router
// has had all of them.
func (r *receiver) send(t *testing.T, n *network.Network, from *network.Host, count int) {
	t.Helper()
	path := network.Path{From: from, To: r.host}
	had := func() uint64 { c := n.Counts(path); return c.Delivered + c.Dropped }
	before := had()
	var conn net.Conn
	check(t, from.Do(func() (err error) {
		conn, err = net.Dial("udp", r.conn.LocalAddr().String())
		return err
	}))
	defer conn.Close()
	for i := range count {
		_, err := conn.Write(binary.BigEndian.AppendUint32(nil, uint32(i)))
		check(t, err)
	}
	wait.For(t, limit, "the router to have all packets", func() bool { return had() >= before+uint64(count) })
}

// arrives waits for the n-th packet of a receiver.
func (r *receiver) arrives(t *testing.T, n int) {
	t.Helper()
	wait.For(t, limit, "packets to arrive", func() bool { return len(r.got()) >= n })
}

func TestPacketsArrive(t *testing.T) {
	n, h := hosts(t, 3)
	for _, to := range h[1:] {
		r := receive(t, to)
		r.send(t, n, h[0], 100)
		r.arrives(t, 100)
		if !slices.IsSorted(r.got()) {
			t.Errorf("they came in another order: %v", r.got())
		}
	}
	if c := n.Counts(network.Path{From: h[0], To: h[1]}); c != (network.Counts{Delivered: 100}) {
		t.Errorf("counted %+v", c)
	}
}

func TestConnections(t *testing.T) {
	n, h := hosts(t, 2)
	lis := listen(t, h[1])
	defer n.Disturb(network.Effect{Loss: 0.1, Duplicate: 0.1, Delay: time.Millisecond, Jitter: time.Millisecond}, network.Both(h[:1], h[1:])...)()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	conn, err := h[0].Dial(ctx, lis.Addr().String())
	check(t, err)
	defer conn.Close()
	if host, _, _ := net.SplitHostPort(conn.LocalAddr().String()); host != h[0].Addr() {
		t.Errorf("the connection comes from %s, want %s", host, h[0].Addr())
	}
	sent := strings.Repeat("all of it arrives, and in order; ", 1000)
	var received []byte
	var echoing sync.WaitGroup
	echoing.Go(func() { received = accept(lis) })
	_, err = io.WriteString(conn, sent)
	check(t, err)
	check(t, conn.Close())
	echoing.Wait()
	if string(received) != sent {
		t.Errorf("%d bytes arrived of %d, or others", len(received), len(sent))
	}
}

func listen(t *testing.T, h *network.Host) net.Listener {
	t.Helper()
	var lis net.Listener
	check(t, h.Do(func() (err error) {
		lis, err = net.Listen("tcp", net.JoinHostPort(h.Addr(), "7000"))
		return err
	}))
	t.Cleanup(func() { _ = lis.Close() })
	return lis
}

func accept(lis net.Listener) []byte {
	conn, err := lis.Accept()
	if err != nil {
		return nil
	}
	defer conn.Close()
	received, _ := io.ReadAll(conn) // what is missing is seen
	return received
}

func TestACutIsOneWay(t *testing.T) {
	n, h := hosts(t, 2)
	there, back := receive(t, h[1]), receive(t, h[0])
	mend := n.Disturb(network.Effect{Cut: true}, network.Between(h[:1], h[1:])...)
	there.send(t, n, h[0], 3)
	back.send(t, n, h[1], 3)
	back.arrives(t, 3)
	mend()
	mend() // once is enough
	there.send(t, n, h[0], 1)
	there.arrives(t, 1)
	if got := there.got(); len(got) != 1 {
		t.Errorf("%d packets came through the cut", len(got)-1)
	}
}

func TestACutPartitionsTwoSides(t *testing.T) {
	n, h := hosts(t, 4)
	defer n.Disturb(network.Effect{Cut: true}, network.Both(h[:2], h[2:])...)()
	for _, to := range h {
		r := receive(t, to)
		for _, from := range h {
			if from == to {
				continue
			}
			r.send(t, n, from, 1)
			want := network.Counts{Dropped: 1}
			if slices.Contains(h[:2], from) == slices.Contains(h[:2], to) {
				want = network.Counts{Delivered: 1}
			}
			if c := n.Counts(network.Path{From: from, To: to}); c != want {
				t.Errorf("from %s to %s: %+v, want %+v", from.Addr(), to.Addr(), c, want)
			}
		}
	}
}

func TestADialThroughACutEndsWithItsContext(t *testing.T) {
	n, h := hosts(t, 3)
	cut, open := listen(t, h[1]), listen(t, h[2])
	defer n.Disturb(network.Effect{Cut: true}, network.Both(h[:1], h[1:2])...)()
	ctx, cancel := context.WithCancel(t.Context())
	var dialing sync.WaitGroup
	dialing.Go(func() {
		if _, err := h[0].Dial(ctx, cut.Addr().String()); !errors.Is(err, context.Canceled) {
			t.Errorf("through the cut: %v", err)
		}
	})
	conn, err := h[0].Dial(t.Context(), open.Addr().String()) // the other does not hold it up
	check(t, err)
	check(t, conn.Close())
	cancel()
	dialing.Wait()
}

func TestLoss(t *testing.T) {
	n, h := hosts(t, 2)
	defer n.Disturb(network.Effect{Loss: 0.3}, network.Both(h[:1], h[1:])...)()
	r := receive(t, h[1])
	r.send(t, n, h[0], 2000)
	c := n.Counts(network.Path{From: h[0], To: h[1]})
	if c.Dropped < 500 || c.Dropped > 700 {
		t.Errorf("%d of 2000 packets were lost, want about 600", c.Dropped)
	}
}

func TestDuplicates(t *testing.T) {
	n, h := hosts(t, 2)
	defer n.Disturb(network.Effect{Duplicate: 1}, network.Both(h[:1], h[1:])...)()
	r := receive(t, h[1])
	r.send(t, n, h[0], 2)
	r.arrives(t, 4)
	if got := r.got(); !slices.Equal(got, []uint32{0, 0, 1, 1}) {
		t.Errorf("received %v", got)
	}
}

func TestDelay(t *testing.T) {
	n, h := hosts(t, 2)
	defer n.Disturb(network.Effect{Delay: 80 * time.Millisecond}, network.Both(h[:1], h[1:])...)()
	r := receive(t, h[1])
	begin := time.Now()
	r.send(t, n, h[0], 10)
	r.arrives(t, 10)
	if early := r.times[0].Sub(begin); early < 80*time.Millisecond {
		t.Errorf("the first came after %s", early)
	}
	if c := n.Counts(network.Path{From: h[0], To: h[1]}); c.Late != 10 {
		t.Errorf("counted %+v", c)
	}
}

func TestJitterChangesTheOrder(t *testing.T) {
	n, h := hosts(t, 2)
	defer n.Disturb(network.Effect{Jitter: 50 * time.Millisecond}, network.Both(h[:1], h[1:])...)()
	r := receive(t, h[1])
	r.send(t, n, h[0], 100)
	r.arrives(t, 100)
	got := r.got()
	if slices.IsSorted(got) {
		t.Error("the order is as sent")
	}
	slices.Sort(got)
	if len(got) != 100 || got[0] != 0 || got[99] != 99 {
		t.Errorf("other packets came than were sent: %v", got)
	}
}

func TestTheSameSeedLosesTheSamePackets(t *testing.T) {
	var runs [][]uint32
	for range 2 {
		n, h := hosts(t, 2)
		undo := n.Disturb(network.Effect{Loss: 0.5}, network.Both(h[:1], h[1:])...)
		r := receive(t, h[1])
		r.send(t, n, h[0], 100)
		undo()
		r.arrives(t, int(n.Counts(network.Path{From: h[0], To: h[1]}).Delivered))
		runs = append(runs, r.got())
	}
	if !slices.Equal(runs[0], runs[1]) {
		t.Errorf("first %v, then %v", runs[0], runs[1])
	}
}

func TestEffectsAddUp(t *testing.T) {
	n, h := hosts(t, 2)
	paths := network.Between(h[:1], h[1:])
	r := receive(t, h[1])
	cut := n.Disturb(network.Effect{Cut: true}, paths...)
	double := n.Disturb(network.Effect{Duplicate: 1}, paths...)
	r.send(t, n, h[0], 1)
	cut()
	r.send(t, n, h[0], 1)
	r.arrives(t, 2)
	double()
	r.send(t, n, h[0], 1)
	if c := n.Counts(paths[0]); c != (network.Counts{Delivered: 3, Dropped: 1}) {
		t.Errorf("counted %+v", c)
	}
}

func TestCommandsRunInTheHost(t *testing.T) {
	_, h := hosts(t, 2)
	for _, host := range h {
		cmd := exec.Command("sh", "-c", "cat /proc/net/fib_trie; exit 3")
		host.Enter(cmd)
		out, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 3 {
			t.Errorf("the command ended with %v, want exit code 3", err)
		}
		for _, other := range h {
			if strings.Contains(string(out), other.Addr()+"\n") != (other == host) {
				t.Errorf("in %s:\n%s", host.Addr(), out)
			}
		}
	}
}

func TestNothingElseIsInTheHost(t *testing.T) {
	_, h := hosts(t, 1)
	check(t, h[0].Do(func() error { return nil }))
	cards, err := net.Interfaces()
	check(t, err)
	for _, card := range cards {
		if card.Name == "wp0" {
			t.Error("the host's device is outside of it")
		}
	}
	if _, err := h[0].Dial(t.Context(), "localhost:7000"); err == nil {
		t.Error("a name was asked for outside of the host")
	}
}
