//go:build linux

package network

import (
	"bytes"
	"container/heap"
	"context"
	"sync"
	"time"
)

// carry takes each packet that a host sends to the host that it is for, until
// the device is closed.
func (n *Network) carry(from *Host) {
	packet := make([]byte, mtu)
	for {
		size, err := from.tun.Read(packet)
		if err != nil {
			return
		}
		to := n.destination(packet[:size])
		if to == nil {
			continue
		}
		p := n.path(Path{from, to})
		for _, delay := range p.fate() {
			if delay == 0 {
				to.write(packet[:size])
			} else if !to.late.add(bytes.Clone(packet[:size]), time.Now().Add(delay)) {
				p.overflow()
			}
		}
	}
}

// destination is the host that an IPv4 packet is for. Nobody is at any other
// address.
func (n *Network) destination(packet []byte) *Host {
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[16] != 10 || packet[17] != 77 || packet[18] != 0 {
		return nil
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if i := int(packet[19]) - 1; i >= 0 && i < len(n.hosts) {
		return n.hosts[i]
	}
	return nil
}

// write hands a packet to the host. One that its kernel does not take is lost,
// as on a wire.
func (h *Host) write(packet []byte) { _, _ = h.tun.Write(packet) }

// maxLate is how many packets may be on their way to a host at a time. More are
// lost, as they are in a router whose memory is full.
const maxLate = 10_000

// late holds the packets that arrive later.
type late struct {
	added chan struct{} // holds a token when there is a new first packet

	mu      sync.Mutex
	packets packets
}

// held is a packet and when it arrives.
type held struct {
	packet []byte
	due    time.Time
}

func newLate() *late { return &late{added: make(chan struct{}, 1)} }

// add takes a packet; false if there is no room.
func (l *late) add(packet []byte, due time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.packets) == maxLate {
		return false
	}
	heap.Push(&l.packets, held{packet, due})
	if l.packets[0].due.Equal(due) {
		select {
		case l.added <- struct{}{}:
		default:
		}
	}
	return true
}

// take returns a packet that is due, or else how long nothing is.
func (l *late) take() (packet []byte, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.packets) == 0 {
		return nil, time.Hour
	}
	if wait := time.Until(l.packets[0].due); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&l.packets).(held).packet, 0
}

// deliver hands each packet over when it is due, until ctx ends.
func (l *late) deliver(ctx context.Context, write func([]byte)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		packet, wait := l.take()
		if packet != nil {
			write(packet)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-l.added:
		case <-ctx.Done():
			return
		}
	}
}

// packets is a heap, the earliest first.
type packets []held

func (p packets) Len() int           { return len(p) }
func (p packets) Less(i, j int) bool { return p[i].due.Before(p[j].due) }
func (p packets) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }

// Push implements heap.Interface.
func (p *packets) Push(x any) { *p = append(*p, x.(held)) }

// Pop implements heap.Interface.
func (p *packets) Pop() any {
	old := *p
	last := old[len(old)-1]
	old[len(old)-1] = held{}
	*p = old[:len(old)-1]
	return last
}
