//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	device   = "wp0"
	mtu      = 9000 // bytes of one packet; fewer packets cost the router less
	queueLen = 5000 // packets that wait for the router; it is full only when the router cannot run
)

// Host is a network namespace with one address.
type Host struct {
	Name string

	network   *Network
	addr      netip.Addr
	namespace *os.File
	tun       *os.File // reads what the host sends, writes what it is to receive
	late      *late
}

// Addr is the host's IP address.
func (h *Host) Addr() string { return h.addr.String() }

// open makes the namespace and what is in it.
func (h *Host) open() error {
	return onThread(h.network.outside, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		var err error
		if h.namespace, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if h.tun, err = openTun(); err != nil {
			return err
		}
		return h.configure()
	})
}

// openTun makes the device in the namespace of the calling thread.
func openTun() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = os.NewSyscallError("ioctl TUNSETIFF", unix.IoctlIfreq(fd, unix.TUNSETIFF, request))
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

// configure gives the device its address and sets it and the loopback going.
func (h *Host) configure() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	addr := h.addr.As4()
	for _, set := range []struct {
		what    string
		device  string
		request uint
		value   any
	}{
		{"the address", device, unix.SIOCSIFADDR, addr[:]},
		{"the netmask", device, unix.SIOCSIFNETMASK, []byte{255, 255, 255, 0}},
		{"the MTU", device, unix.SIOCSIFMTU, uint32(mtu)},
		{"the queue", device, unix.SIOCSIFTXQLEN, uint32(queueLen)},
		{"up", device, unix.SIOCSIFFLAGS, uint16(unix.IFF_UP)},
		{"up", "lo", unix.SIOCSIFFLAGS, uint16(unix.IFF_UP)},
	} {
		request, err := unix.NewIfreq(set.device)
		if err != nil {
			return err
		}
		switch value := set.value.(type) {
		case []byte:
			err = request.SetInet4Addr(value)
		case uint32:
			request.SetUint32(value)
		case uint16:
			request.SetUint16(value)
		}
		if err == nil {
			err = unix.IoctlIfreq(socket, set.request, request)
		}
		if err != nil {
			return fmt.Errorf("set %s of %s: %w", set.what, set.device, err)
		}
	}
	return nil
}

func (h *Host) close() error {
	var failed []error
	for _, f := range []*os.File{h.tun, h.namespace} {
		if f != nil {
			failed = append(failed, f.Close())
		}
	}
	return errors.Join(failed...)
}

// onThread calls fn on a thread of its own, which comes back to a namespace
// before others use it.
func onThread(back *os.File, fn func() error) error {
	runtime.LockOSThread()
	defer func() {
		// A thread that cannot go back stays locked and ends with its goroutine.
		if unix.Setns(int(back.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return fn()
}

// Do calls fn on a thread that is in the host's network: sockets that fn itself
// opens are the host's for ever, those of goroutines that it starts are not.
func (h *Host) Do(fn func() error) error {
	return onThread(h.network.outside, func() error {
		if err := unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network of host %s: %w", h.Name, explain(err))
		}
		return fn()
	})
}

// Dial opens a TCP connection from the host to an IP address and port.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial from host %s: %w", h.Name, err) // a name would be asked for outside
	}
	var conn net.Conn
	err := h.Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		return err
	})
	return conn, err
}

// Enter makes a command that is not started yet run in the host. Process id,
// signals and exit code stay the command's own.
func (h *Host) Enter(cmd *exec.Cmd) {
	namespace := fmt.Sprintf("--net=/proc/%d/fd/%d", syscall.Getpid(), h.namespace.Fd())
	cmd.Args = append([]string{h.network.nsenter, namespace, "--", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = h.network.nsenter
}
