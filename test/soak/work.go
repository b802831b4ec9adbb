package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"waypoint/test/harness"
)

const (
	// calm is how long after a node came back calls may still fail. The next
	// node goes 15 s later at the earliest, so that most of the time is judged.
	calm = 8 * time.Second
	// bigLines is how many lines a big exec session prints.
	bigLines = 100_000
)

// each calls do again and again, after times that are drawn, until ctx ends.
func (s *soak) each(ctx context.Context, least, most time.Duration, do func()) {
	for {
		select {
		case <-time.After(s.between(least, most)):
			do()
		case <-ctx.Done():
			return
		}
	}
}

// disturbNodes kills a node, or asks it to leave, and starts it again.
func (s *soak) disturbNodes(ctx context.Context) {
	s.each(ctx, 15*time.Second, 30*time.Second, func() {
		// What has begun is ended, so that the run ends with three nodes.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		n := s.pick(len(s.cluster.Nodes))
		node := s.cluster.Nodes[n]
		s.disturbed.Store(time.Now().Add(time.Hour).UnixNano())
		defer func() { s.disturbed.Store(time.Now().UnixNano()) }()
		s.lives[n].begin(0)
		if s.pick(2) == 0 {
			s.counts.kills.Add(1)
			node.Kill()
		} else {
			s.counts.restarts.Add(1)
			if err := node.Terminate(bounded); err != nil {
				s.violated("%v", err)
				node.Kill()
			}
		}
		if err := node.Start(bounded); err != nil {
			s.violated("%v", err)
			return
		}
		s.lives[n].begin(node.Pid())
		if err := harness.Until(bounded, time.Minute, func() error { return s.cluster.Voters(bounded, 3) }); err != nil {
			s.violated("after %s came back: %v", node.Name, err)
		}
	})
}

// excused tells whether a call that began then may fail.
func (s *soak) excused(began time.Time) bool {
	return began.Before(time.Unix(0, s.disturbed.Load()).Add(calm))
}

// changeConfig gives the configuration a new value, which restarts the
// applications.
func (s *soak) changeConfig(ctx context.Context) {
	s.each(ctx, 20*time.Second, 40*time.Second, func() {
		began := time.Now()
		if err := s.setConfig(ctx); err != nil && !s.excused(began) {
			s.violated("%v", err)
		}
	})
}

func (s *soak) setConfig(ctx context.Context) error {
	value := s.round.Add(1)
	s.counts.configs.Add(1)
	// Begun is ended: whether a change that was cut off is done, nobody knows.
	_, err := s.cluster.Run(context.WithoutCancel(ctx), "config", "set", fmt.Sprintf("%s=%d", configName, value))
	return err
}

// runExecs runs small commands inside instances.
func (s *soak) runExecs(ctx context.Context) {
	s.each(ctx, 200*time.Millisecond, time.Second, func() {
		text := fmt.Sprintf("echo %d", s.pick(1<<30))
		s.exec(ctx, text+"\n", "echo", text)
	})
}

// runBigExecs runs commands that print much.
func (s *soak) runBigExecs(ctx context.Context) {
	var all strings.Builder
	for n := range bigLines {
		fmt.Fprintln(&all, n+1)
	}
	s.each(ctx, 5*time.Second, 10*time.Second, func() {
		s.counts.bigExecs.Add(1)
		s.exec(ctx, all.String(), "seq", fmt.Sprint(bigLines))
	})
}

// exec runs a command in some instance. It must print what is wanted, or fail
// and say so while a node is away.
func (s *soak) exec(ctx context.Context, want string, argv ...string) {
	began := time.Now()
	one := s.steady[s.pick(len(s.steady))]
	out, err := s.cluster.Run(ctx, slices.Concat([]string{"exec", "-instance=" + one.id, "--"}, argv)...)
	if ctx.Err() != nil {
		return
	}
	s.counts.execs.Add(1)
	var failed *harness.CommandError
	switch {
	case err == nil && out != want:
		s.violated("exec of %q printed %d bytes that are not what was wanted, and said nothing", argv, len(out))
	case err == nil:
	case !errors.As(err, &failed) || failed.Stderr == "":
		s.violated("exec of %q failed without a word: %v", argv, err)
	case !s.excused(began):
		s.violated("exec of %q failed though all nodes were there: %v", argv, err)
	default:
		s.counts.execsReported.Add(1)
	}
}

// crash starts an application that crashes, again and again, as a platform
// would.
func (s *soak) crash(ctx context.Context) {
	for ctx.Err() == nil {
		i, err := s.startInstance(s.crashes, "crashy")
		if err != nil {
			s.violated("start an instance: %v", err)
			return
		}
		select {
		case <-i.Ended():
			s.counts.crashes.Add(1)
			if code := i.Code(); code != crashCode {
				s.violated("an application ended with %d, its entrypoint with %d", crashCode, code)
			}
		case <-ctx.Done():
			i.Stop(10 * time.Second)
		}
	}
}

// sample watches what the steady entrypoints and the nodes use.
func (s *soak) sample(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, one := range s.steady {
			select {
			case <-one.instance.Ended():
				s.violated("%s ended with %d", one.usage.name, one.instance.Code())
				return
			default:
				one.usage.sample(one.instance.Pid())
			}
		}
		for _, l := range s.lives {
			l.sample()
		}
	}
}

// progress says each minute how it goes.
func (s *soak) progress(ctx context.Context) {
	began := time.Now()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Printf("%s: %s\n", time.Since(began).Round(time.Second), s.did())
		case <-ctx.Done():
			return
		}
	}
}
