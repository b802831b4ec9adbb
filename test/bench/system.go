package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"waypoint/test/harness"
)

// system is a cluster that a benchmark puts load on: ours or the peer's.
type system interface {
	name() string
	// generator prepares a process that puts load on the cluster.
	generator(ctx context.Context, l load) *exec.Cmd
	// processes returns the ids of the nodes' processes, the leader's first.
	processes(ctx context.Context) ([]int, error)
	// strike ends the leader's process with a signal and waits for its end. It
	// returns how to start it again and wait until every node is healthy.
	strike(ctx context.Context, how syscall.Signal) (struck, error)
}

// struck is a node whose process has been ended.
type struck struct {
	at    time.Time // when the signal was sent
	again func(context.Context) error
}

// load is what a generator of load is told.
type load struct {
	clients int
	op      string // "put", "get" or "probe": see load.go
	last    time.Duration
	profile string // where profiles of the CPU go, without the names' ends; none if empty
}

// figures are what a round of load gives.
type figures struct {
	Count   int     `json:"count"`   // calls that were answered
	Seconds float64 `json:"seconds"` // that they took together
	CPU     float64 `json:"cpu"`     // seconds of the generator's process, user and system
	Median  float64 `json:"median"`  // of the calls' times, in milliseconds
	P99     float64 `json:"p99"`

	nodes []time.Duration // CPU of each node meanwhile, the leader's first
	rest  time.Duration   // CPU of the nodes of the other system, which have nothing to do
}

// generator is a running process that puts load on a cluster.
type generator struct {
	cmd    *exec.Cmd
	stderr strings.Builder
	out    *json.Decoder
}

// begin starts a generator and returns when all its clients are connected and
// have written once.
func begin(ctx context.Context, s system, l load) (*generator, error) {
	g := &generator{cmd: s.generator(ctx, l)}
	g.cmd.Stderr = &g.stderr
	g.cmd.Cancel = func() error { return g.cmd.Process.Signal(syscall.SIGTERM) }
	g.cmd.WaitDelay = 5 * time.Second
	stdout, err := g.cmd.StdoutPipe()
	if err == nil {
		err = g.cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	g.out = json.NewDecoder(bufio.NewReader(stdout))
	var first struct{ Begin bool }
	if err := g.out.Decode(&first); err != nil || !first.Begin {
		return nil, errors.Join(fmt.Errorf("load on %s did not begin: %w", s.name(), err), g.end())
	}
	return g, nil
}

// signal reaches the process, unless end has waited for it.
func (g *generator) signal(which syscall.Signal) {
	_ = g.cmd.Process.Signal(which) // it may have ended by itself
}

// end waits for the process, whose output must have been read.
func (g *generator) end() error {
	if err := g.cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, g.stderr.String())
	}
	return nil
}

// round puts load on a cluster once, while another has nothing to do.
func round(ctx context.Context, s, other system, l load) (figures, error) {
	var f figures
	pids, err := processes(ctx, s)
	if err != nil {
		return f, err
	}
	idle, err := processes(ctx, other)
	if err != nil {
		return f, err
	}
	g, err := begin(ctx, s, l)
	if err != nil {
		return f, err
	}
	_, profiled := s.(own)
	if profiled = profiled && l.profile != ""; profiled {
		signalAll(pids, syscall.SIGUSR1)
	}
	all := slices.Concat(pids, idle)
	before, err := cpuOf(all)
	if err != nil {
		return f, errors.Join(err, g.end())
	}
	if err := g.out.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return f, errors.Join(err, g.end())
	}
	after, err := cpuOf(all)
	if profiled {
		signalAll(pids, syscall.SIGUSR2)
		err = errors.Join(err, keepProfiles(ctx, s.(own).Dir, pids, l.profile))
	}
	for i := range after {
		if used := after[i] - before[i]; i < len(pids) {
			f.nodes = append(f.nodes, used)
		} else {
			f.rest += used
		}
	}
	if err := errors.Join(err, g.end()); err != nil {
		return f, fmt.Errorf("load on %s: %w", s.name(), err)
	}
	return f, nil
}

// processes returns the ids of a system's processes, once it has a leader.
func processes(ctx context.Context, s system) (pids []int, err error) {
	err = harness.Until(ctx, 10*time.Second, func() (err error) {
		pids, err = s.processes(ctx)
		return err
	})
	return pids, err
}

// signalAll signals processes that are ours and have not been waited for.
func signalAll(pids []int, which syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, which) // the figures fail if it is gone
	}
}

// keepProfiles moves the profiles that nodes wrote to their working folder.
func keepProfiles(ctx context.Context, dir string, pids []int, prefix string) error {
	roles := []string{"leader", "follower1", "follower2"}
	for i, pid := range pids {
		err := harness.Until(ctx, 10*time.Second, func() error {
			return os.Rename(filepath.Join(dir, fmt.Sprintf("cpu-%d.pprof", pid)), prefix+"-"+roles[i]+".pprof")
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// cpuOf reads what processes have used so far, user and system.
func cpuOf(pids []int) ([]time.Duration, error) {
	used := make([]time.Duration, 0, len(pids))
	for _, pid := range pids {
		u, err := harness.UsageOf(pid)
		if err != nil {
			return nil, err
		}
		used = append(used, u.CPU)
	}
	return used, nil
}
