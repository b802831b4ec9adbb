//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"
)

// maxHosts is how many addresses the network has: 10.77.0.1 to 10.77.0.254.
const maxHosts = 254

// Network is a set of hosts and the router between them. Its methods may be
// called from several goroutines.
type Network struct {
	seed    uint64
	nsenter string   // the command that starts others in a namespace
	outside *os.File // the namespace of everything else
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup

	mu    sync.RWMutex
	hosts []*Host // the host of 10.77.0.n is at n-1
	paths map[Path]*path
}

// New makes a network without hosts. The seed decides the fate of packets.
func New(seed uint64) (*Network, error) {
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return nil, fmt.Errorf("make a network: the command nsenter is missing, which is part of util-linux: %w", err)
	}
	outside, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("make a network: %w", err)
	}
	n := &Network{seed: seed, nsenter: nsenter, outside: outside, paths: map[Path]*path{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n, nil
}

// Add makes one more host, with the next address. The name is for people.
func (n *Network) Add(name string) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.hosts) == maxHosts {
		return nil, fmt.Errorf("make host %s: the network has room for %d", name, maxHosts)
	}
	h := &Host{Name: name, network: n, addr: netip.AddrFrom4([4]byte{10, 77, 0, byte(len(n.hosts) + 1)}), late: newLate()}
	if err := h.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("make host %s: %w", name, explain(err)), h.close())
	}
	n.hosts = append(n.hosts, h)
	n.tasks.Go(func() { n.carry(h) })
	n.tasks.Go(func() { h.late.deliver(n.ctx, h.write) })
	return h, nil
}

// explain adds to an error of the system what is missing.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("hosts with networks of their own need root, or CAP_SYS_ADMIN and CAP_NET_ADMIN: %w", err)
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV):
		return fmt.Errorf("hosts with networks of their own need the kernel's TUN devices: %w", err)
	}
	return err
}

// Hosts returns all hosts in the order of their addresses.
func (n *Network) Hosts() []*Host {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return append([]*Host{}, n.hosts...)
}

// Close takes the devices from all hosts and waits for the router. Processes in
// the hosts go on, without a network.
func (n *Network) Close() error {
	n.cancel()
	var failed []error
	for _, h := range n.Hosts() {
		failed = append(failed, h.close())
	}
	n.tasks.Wait()
	return errors.Join(append(failed, n.outside.Close())...)
}
