//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"waypoint/test/faults/disk"
	"waypoint/test/faults/network"
	"waypoint/test/harness"
)

// world is a cluster in a network of its own, and the hosts of those who use it.
type world struct {
	dir      string // everything that is written
	network  *network.Network
	cluster  *harness.Cluster
	hosts    map[place]*network.Host
	disks    map[string]*disk.Disk // of the nodes, by their names
	timeline *timeline
	size     int // how many nodes vote

	mu     sync.Mutex
	ending map[*harness.Node]bool // those that may end by themselves
}

// place is what the harness asks a host for.
type place struct {
	role harness.Role
	n    int
}

// newWorld makes the hosts for a cluster of some nodes, which does not run yet:
// one host for each node, as many for clients, one for commands and one for
// applications and their runner.
func newWorld(seed uint64, size int, say func(string, ...any)) (*world, error) {
	dir, err := os.MkdirTemp("", "waypoint-faults-")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, size: size, cluster: harness.New(binDir, dir), hosts: map[place]*network.Host{},
		disks: map[string]*disk.Disk{}, ending: map[*harness.Node]bool{}}
	if w.timeline, err = newTimeline(filepath.Join(dir, "timeline.txt"), say); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if w.network, err = network.New(seed); err == nil {
		err = w.addHosts()
	}
	if err != nil {
		return nil, errors.Join(err, w.close(), os.RemoveAll(dir))
	}
	w.cluster.Host = func(role harness.Role, n int) harness.Host { return w.host(role, n) }
	// Every second node keeps its log in another kind of store.
	w.cluster.NodeArgs = func(n int) []string { return []string{"-log-store=" + logStore(seed, n)} }
	w.cluster.NodeEnv = func(n int) []string { return []string{"WAYPOINT_TEST_CLOCK=" + w.clockFile(n)} }
	return w, nil
}

// logStore is what a node keeps its Raft log in.
func logStore(seed uint64, n int) string {
	if (seed+uint64(n))%2 == 0 {
		return "wal"
	}
	return "bolt"
}

func (w *world) addHosts() error {
	for _, some := range []struct {
		role  harness.Role
		name  string
		count int
	}{
		{harness.NodeRole, "n", w.size},
		{harness.ClientRole, "client", w.size},
		{harness.UserRole, "user", 1},
		{harness.AppRole, "app", 1},
	} {
		for n := range some.count {
			h, err := w.network.Add(fmt.Sprintf("%s%d", some.name, n+1))
			if err != nil {
				return err
			}
			w.hosts[place{some.role, n}] = h
		}
	}
	return nil
}

// host is where something runs. Clients share theirs if there are many.
func (w *world) host(role harness.Role, n int) *network.Host {
	if role == harness.ClientRole {
		n %= w.size
	}
	return w.hosts[place{role, n}]
}

// nodeHost is where a node runs.
func (w *world) nodeHost(n *harness.Node) *network.Host {
	for i, other := range w.cluster.Nodes {
		if n == other {
			return w.host(harness.NodeRole, i)
		}
	}
	return nil
}

// members are the nodes that belong to the cluster now.
func (w *world) members() []*harness.Node { return w.cluster.Nodes }

// nodeHosts are the hosts of the members.
func (w *world) nodeHosts() []*network.Host {
	var hosts []*network.Host
	for _, n := range w.members() {
		hosts = append(hosts, w.nodeHost(n))
	}
	return hosts
}

// outsiders are the hosts of everything but nodes, in a fixed order.
func (w *world) outsiders() []*network.Host {
	hosts := []*network.Host{w.host(harness.UserRole, 0), w.host(harness.AppRole, 0)}
	for n := range w.size {
		hosts = append(hosts, w.host(harness.ClientRole, n))
	}
	return hosts
}

// start brings the cluster up.
func (w *world) start(ctx context.Context) error {
	for n := range w.size {
		if err := errors.Join(w.mount(fmt.Sprintf("n%d", n+1)), w.setClock(n, 0)); err != nil {
			return err
		}
	}
	if err := w.cluster.Start(ctx, w.size); err != nil {
		return err
	}
	w.timeline.note("%d nodes run", w.size)
	return w.clocksCanJump()
}

// close stops everything. What was written stays.
func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, n := range w.cluster.Nodes { // a run that failed leaves its faults
		n.Signal(syscall.SIGCONT)
	}
	for _, d := range w.disks {
		d.Hang(false)
		d.SetDelay(0)
	}
	failed := []error{w.cluster.Close(ctx), w.unmount()}
	if w.network != nil {
		failed = append(failed, w.network.Close())
	}
	return errors.Join(append(failed, w.timeline.close())...)
}

// crashes describes what nodes wrote that no node ever should.
func (w *world) crashes() error {
	var found []error
	for _, n := range w.cluster.Nodes {
		text, err := os.ReadFile(n.Log)
		if err != nil {
			found = append(found, err)
			continue
		}
		for _, bad := range []string{"panic: ", "fatal error: ", "DATA RACE"} {
			if at := strings.Index(string(text), bad); at >= 0 {
				found = append(found, fmt.Errorf("node %s wrote: %s", n.Name, text[at:min(len(text), at+400)]))
			}
		}
	}
	return errors.Join(found...)
}

// timeline is the list of what was done to a cluster, and when.
type timeline struct {
	began time.Time
	say   func(string, ...any)

	mu   sync.Mutex
	file *os.File
}

func newTimeline(path string, say func(string, ...any)) (*timeline, error) {
	file, err := os.Create(path)
	return &timeline{began: time.Now(), say: say, file: file}, err
}

// note adds a line, with the time of day too, as the nodes' logs have it.
func (l *timeline) note(format string, args ...any) {
	now := time.Now()
	text := fmt.Sprintf("%7.2f s  %s", now.Sub(l.began).Seconds(), fmt.Sprintf(format, args...))
	l.say("%s", text)
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.file, "%s %s\n", now.Format("15:04:05.000"), text)
}

func (l *timeline) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
