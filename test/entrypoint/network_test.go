package entrypoint

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Addresses in a network. Nobody answers at them until they are given to it.
const (
	gateway  = "10.99.0.1"
	silent   = "10.99.0.2"
	resolver = "10.99.0.53"
)

// network is a network namespace with a loopback device, and with a device
// behind which nobody is. It has no name: it goes with its last process and the
// thread that keeps it.
type network struct {
	t    *testing.T
	work chan func()
}

// newNetwork makes a network for the time of a test. Commands that are started
// in it ask for names where resolv.conf says, if that is not empty.
func newNetwork(t *testing.T, resolvConf string) *network {
	t.Helper()
	n := &network{t: t, work: make(chan func())}
	go func() {
		// Never unlocked: the thread is of no use to others and ends here.
		runtime.LockOSThread()
		for fn := range n.work {
			fn()
		}
	}()
	t.Cleanup(func() { close(n.work) })
	check(t, n.do(func() error { return unix.Unshare(unix.CLONE_NEWNET) }))
	n.ip("link set lo up")
	if resolvConf != "" {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		check(t, os.WriteFile(path, []byte(resolvConf), 0o644))
		check(t, n.do(func() error { return mountOver(path, "/etc/resolv.conf") }))
	}
	return n
}

// mountOver shows one file in place of another to this thread and what it
// starts.
func mountOver(path, over string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return os.NewSyscallError("mount", unix.Mount(path, over, "", unix.MS_BIND, ""))
}

// do calls fn on the thread that is in the network.
func (n *network) do(fn func() error) error {
	done := make(chan error, 1)
	n.work <- func() { done <- fn() }
	return <-done
}

// ip runs a command of iproute2.
func (n *network) ip(command string) {
	n.t.Helper()
	check(n.t, n.do(func() error {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, out)
		}
		return nil
	}))
}

// swallow makes packets to the silent addresses vanish: they reach the other
// end of a cable, where nobody takes them.
func (n *network) swallow() {
	n.t.Helper()
	n.ip("link add cable type veth peer name end")
	n.ip("addr add " + gateway + "/24 dev cable")
	n.ip("link set cable up")
	n.ip("link set end up")
	for _, addr := range []string{silent, resolver} {
		n.ip("neigh add " + addr + " lladdr 02:00:00:00:00:99 dev cable nud permanent")
	}
}

// give lets an address be answered.
func (n *network) give(addr string) {
	n.t.Helper()
	n.ip("addr add " + addr + "/32 dev lo")
}

func (n *network) listen(addr string) net.Listener {
	n.t.Helper()
	var lis net.Listener
	check(n.t, n.do(func() (err error) {
		lis, err = net.Listen("tcp", addr)
		return err
	}))
	return lis
}

// counter is one of the kernel's counters of the network, such as how many
// connections have been asked for.
func (n *network) counter(of counter) (value int) {
	_ = n.do(func() error {
		f, err := os.Open("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		defer f.Close()
		var names []string
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) == 0 || fields[0] != of.protocol+":" {
				continue
			}
			if names == nil {
				names = fields
				continue
			}
			for i, field := range fields {
				if names[i] == of.name {
					value, err = strconv.Atoi(field)
					return err
				}
			}
		}
		return fmt.Errorf("no counter %s of %s", of.name, of.protocol)
	})
	return value
}

// resolve answers every question for a name's IPv4 address with addr.
func (n *network) resolve(addr string) {
	n.t.Helper()
	var conn net.PacketConn
	check(n.t, n.do(func() (err error) {
		conn, err = net.ListenPacket("udp", net.JoinHostPort(resolver, "53"))
		return err
	}))
	var serving sync.WaitGroup
	serving.Go(func() {
		for packet := make([]byte, 1500); ; {
			size, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			if reply := answer(packet[:size], net.ParseIP(addr).To4()); reply != nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	})
	n.t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
}

// answer makes a DNS answer (RFC 1035, section 4) to a query of one question.
func answer(query []byte, addr net.IP) []byte {
	const header, typeA = 12, 1
	end := header
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // the root label, type and class
	if len(query) < end {
		return nil
	}
	reply := append([]byte{}, query[:end]...)
	reply[2], reply[3] = 0x81, 0x80 // an answer; recursion is available; no error
	for i := 4; i < header; i++ {
		reply[i] = 0
	}
	reply[5] = 1                                    // one question
	if query[end-4] == 0 && query[end-3] == typeA { // others have no answer
		reply[7] = 1
		reply = append(reply, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 60, 0, 4)
		reply = append(reply, addr...)
	}
	return reply
}
