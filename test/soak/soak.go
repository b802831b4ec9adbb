package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/test/harness"
)

const (
	maxViolations = 50
	// mayLose is the share of lines, in percent, that may be lost of an instance
	// that writes bursts: they are cut off where nobody takes them fast enough,
	// most of all while a node is away. Two busy cores lose 0 to 2 %. Instances
	// that write none lose nothing: of three nodes two are always there.
	mayLose = 10
)

// soak is one run.
type soak struct {
	cluster *harness.Cluster
	deploy  *harness.Deployment // of what must live
	crashes *harness.Deployment // of what crashes, which would hold up restarts by turns
	reader  *reader
	self    string
	steady  []*steady
	lives   []*life // of the nodes, in their order

	round     atomic.Int64 // newest value of the configuration
	disturbed atomic.Int64 // when a node was last away, unix nanoseconds
	counts    counts

	mu         sync.Mutex
	random     *rand.Rand
	violations []string
}

// counts is what was done.
type counts struct {
	kills, restarts, configs, crashes atomic.Int64
	execs, execsReported, bigExecs    atomic.Int64
}

// steady is an instance that must live from begin to end.
type steady struct {
	id       string
	instance *harness.Instance
	bursts   bool
	usage    usage
}

func newSoak(ctx context.Context, c *harness.Cluster, seed uint64) (*soak, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &soak{cluster: c, self: self, random: rand.New(rand.NewPCG(seed, seed))}
	for _, node := range c.Nodes {
		s.lives = append(s.lives, &life{name: node.Name, pid: node.Pid()})
	}
	if s.crashes, err = harness.Deploy(ctx, c, "crash"); err != nil {
		return nil, err
	}
	if s.deploy, err = harness.Deploy(ctx, c, "soak"); err != nil {
		return nil, err
	}
	return s, s.setConfig(ctx)
}

// violated notes that a promise was broken.
func (s *soak) violated(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.violations) < maxViolations {
		s.violations = append(s.violations, text)
		fmt.Println("VIOLATION:", text)
	}
}

// between draws a time.
func (s *soak) between(least, most time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return between(s.random, least, most)
}

func (s *soak) pick(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

// run does everything for the time, then lets things settle and judges.
func (s *soak) run(ctx context.Context, duration time.Duration) error {
	defer s.stopInstances()
	if err := s.start(ctx); err != nil {
		return err
	}
	working, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var tasks sync.WaitGroup
	for _, task := range []func(context.Context){
		s.disturbNodes, s.changeConfig, s.runExecs, s.runBigExecs, s.crash, s.sample, s.progress,
	} {
		tasks.Go(func() { task(working) })
	}
	tasks.Wait()
	if ctx.Err() != nil {
		s.reader.stop()
		return ctx.Err()
	}
	s.settle(ctx)
	return s.judge()
}

// start starts the steady instances and the reader.
func (s *soak) start(ctx context.Context) error {
	for n, kind := range []string{"chatty", "chatty", "quiet", "quiet"} {
		i, err := s.startInstance(s.deploy, kind)
		if err != nil {
			return err
		}
		one := &steady{
			instance: i,
			bursts:   kind == "chatty",
			usage:    usage{name: fmt.Sprintf("%s entrypoint %d", kind, n+1), may: entrypointBounds()},
		}
		s.steady = append(s.steady, one)
		var known []*deploymentpb.Instance
		if err = harness.Attached(ctx, s.cluster, n+1, time.Minute); err == nil {
			known, err = s.cluster.Instances(ctx)
		}
		if err != nil {
			return err
		}
		for _, row := range known {
			if !slices.ContainsFunc(s.steady, func(o *steady) bool { return o.id == row.GetId() }) {
				one.id = row.GetId()
			}
		}
	}
	var err error
	s.reader, err = follow(ctx, s.cluster, s.violated)
	return err
}

// startInstance starts an entrypoint with an application of the kind.
func (s *soak) startInstance(d *harness.Deployment, kind string) (*harness.Instance, error) {
	return d.StartInstance(nil, []string{fmt.Sprintf("%s=%d", seedName, s.pick(1<<30))}, s.self, appCommand, kind)
}

// stopInstances ends what is still there, in the end or after a failure.
func (s *soak) stopInstances() {
	for _, one := range s.steady {
		one.instance.Signal(syscall.SIGTERM)
	}
	for _, one := range s.steady {
		one.instance.Stop(10 * time.Second)
	}
}

// settle checks that everything comes to rest in the right state. The last
// change of the configuration may have failed with an excuse, so another one
// says what is right.
func (s *soak) settle(ctx context.Context) {
	const limit = 2 * time.Minute
	if err := harness.Until(ctx, limit, func() error { return s.setConfig(ctx) }); err != nil {
		s.violated("with all nodes there: %v", err)
	}
	want := fmt.Sprint(s.round.Load())
	err := harness.Until(ctx, limit, func() error {
		for _, one := range s.steady {
			if got, _ := s.reader.state(one.id); got != want {
				return fmt.Errorf("%s runs with configuration %q, not with the newest, %q", one.usage.name, got, want)
			}
		}
		return nil
	})
	if err != nil {
		list, _ := s.cluster.Run(ctx, "instance", "list")
		s.violated("%v\n%s", err, list)
	}
	s.stopInstances()
	err = harness.Until(ctx, limit, func() error {
		for _, one := range s.steady {
			if _, over := s.reader.state(one.id); !over {
				return fmt.Errorf("the last line of %s has not come", one.usage.name)
			}
		}
		return nil
	})
	if err != nil {
		s.violated("%v", err)
	}
	for _, one := range s.steady {
		if code := one.instance.Code(); code != 0 {
			s.violated("%s ended with %d, its application with 0", one.usage.name, code)
		}
	}
	s.reader.stop()
}

// judge says what was done and seen; an error if a promise was broken.
func (s *soak) judge() error {
	var grown []string
	for _, one := range s.steady {
		grown = append(grown, one.usage.judge(s.violated), s.judgeLines(one))
	}
	grown = append(grown, longestLife(s.lives).judge(s.violated))
	fmt.Printf("\nsummary: %s\n  %s\n", s.did(), strings.Join(grown, "\n  "))
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.violations); n > 0 {
		return fmt.Errorf("%d violations, the first: %s", n, s.violations[0])
	}
	fmt.Println("every promise held")
	return nil
}

// judgeLines reports lost lines where too many are, and describes how many.
func (s *soak) judgeLines(one *steady) string {
	lines, lost := s.reader.carried(one.id)
	share := 100 * float64(lost) / float64(max(lines+lost, 1))
	switch {
	case !one.bursts && lost > 0:
		s.violated("%s: %d lines were lost, though it writes no bursts and two nodes were always there", one.usage.name, lost)
	case share > mayLose:
		s.violated("%s: %.1f %% of its lines were lost, %d of %d; at most %d %% may be", one.usage.name, share, lost, lines+lost, mayLose)
	}
	return fmt.Sprintf("%s: %d lines came, %d were lost (%.1f %%)", one.usage.name, lines, lost, share)
}

// did is what was done so far, in one line.
func (s *soak) did() string {
	c := &s.counts
	return fmt.Sprintf("%d kills, %d restarts of nodes; %d config changes; %d crashes; %d exec sessions, %d of them big, %d failed and said so; %s",
		c.kills.Load(), c.restarts.Load(), c.configs.Load(), c.crashes.Load(),
		c.execs.Load(), c.bigExecs.Load(), c.execsReported.Load(), s.reader.counts())
}
