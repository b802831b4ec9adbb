package hostile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waypoint/api/configpb"
	"waypoint/internal/wait"
)

// honest are clients of each node that write and read all the time.
type honest struct {
	n    *nodes
	stop context.CancelFunc
	all  sync.WaitGroup

	mu       sync.Mutex
	since    machine // when it was judged last
	calls    int
	slowest  time.Duration
	memory   uint64
	failures []string
}

// watch begins the honest clients' work.
func (n *nodes) watch() *honest {
	n.t.Helper()
	ctx, stop := context.WithCancel(n.t.Context())
	h := &honest{n: n, stop: stop, since: n.machine()}
	for i, addr := range n.Addrs {
		api := configpb.NewConfigClient(n.dial(addr).Conn())
		h.all.Go(func() { h.work(ctx, api, "HONEST_"+string(rune('A'+i))) })
	}
	h.all.Go(func() {
		for ctx.Err() == nil {
			held := n.usage().Memory
			h.mu.Lock()
			h.memory = max(h.memory, held)
			h.mu.Unlock()
			pause(ctx, 500*time.Millisecond)
		}
	})
	return h
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (h *honest) work(ctx context.Context, api configpb.ConfigClient, name string) {
	for i := 0; ctx.Err() == nil; i++ {
		value := time.Now().String()
		h.call(ctx, "write "+name, func(ctx context.Context) error {
			_, err := api.Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{{Scope: &configpb.Scope{}, Name: name, Value: value}}})
			return err
		})
		h.call(ctx, "read "+name, func(ctx context.Context) error {
			_, err := api.Get(ctx, &configpb.GetRequest{Scope: &configpb.Scope{}})
			return err
		})
		pause(ctx, 20*time.Millisecond)
	}
}

func (h *honest) call(ctx context.Context, what string, call func(context.Context) error) {
	if ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	begin := time.Now()
	err := call(ctx)
	took := time.Since(begin)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	h.slowest = max(h.slowest, took)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		h.failures = append(h.failures, fmt.Sprintf("%s failed after %s: %v", what, took, err))
	}
}

// judge says what was broken since the last time, of all calls that were made
// during that.
func (h *honest) judge(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	enough := h.calls + 4*nodeCount // each client begins a call after this
	h.mu.Unlock()
	wait.For(t, 2*patience, "the calls of honest clients", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.calls >= enough
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.n.machine()
	share := now.share(h.since)
	limit := time.Duration(float64(callLimit) / share)
	t.Logf("%d honest calls, the slowest took %s; the nodes held at most %d MiB; we had %.0f %% of the machine",
		h.calls, h.slowest.Round(time.Millisecond), h.memory>>20, 100*share)
	if h.slowest > limit {
		t.Errorf("a call took %s, the limit is %s", h.slowest, limit)
	}
	for _, failure := range h.failures {
		t.Error(failure)
	}
	if h.memory > memoryLimit {
		t.Errorf("the nodes held %d MiB, the limit is %d", h.memory>>20, memoryLimit>>20)
	}
	h.since, h.calls, h.slowest, h.memory, h.failures = now, 0, 0, 0, nil
}

// machine is how much processor time there was so far, in ticks.
type machine struct {
	all, idle, ours uint64
}

func (n *nodes) machine() machine {
	var m machine
	stat, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(stat), "\n")
	for i, field := range strings.Fields(line) {
		ticks, _ := strconv.ParseUint(field, 10, 64)
		if i >= 1 && i <= 8 { // what guests take is counted twice
			m.all += ticks
		}
		if i == 4 || i == 5 {
			m.idle += ticks
		}
	}
	for _, pid := range []int{os.Getpid(), n.pid} {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, after, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(after); len(fields) > 12 {
			user, _ := strconv.ParseUint(fields[11], 10, 64)
			system, _ := strconv.ParseUint(fields[12], 10, 64)
			m.ours += user + system
		}
	}
	return m
}

// share is the part of the machine that others left to us since before: a limit
// in time means little where others use the processors.
func (m machine) share(before machine) float64 {
	all := float64(m.all - before.all)
	if all <= 0 {
		return 1
	}
	left := float64(m.ours-before.ours) + float64(m.idle-before.idle)
	return min(max(left/all, 0.05), 1)
}
