//go:build linux

package faults

import (
	"context"
	"syscall"
	"time"

	"waypoint/test/harness"
)

// leaving is how long a node may take to leave after SIGTERM.
const leaving = 30 * time.Second

// processFaults are what happens to nodes' processes.
func processFaults() []fault {
	return []fault{
		{name: "kill", begin: kill},
		{name: "kill all", begin: killAll, alone: true},
		{name: "stop", begin: stop},
		{name: "stutter", begin: stutter},
		{name: "restart", begin: restart},
		{name: "rolling restart", begin: rollingRestart, slow: true, alone: true},
	}
}

// kill ends a node with SIGKILL.
func kill(ctx context.Context, s *strike) (mend, error) {
	n := s.victim(ctx)
	s.timeline.note("kill %s", n.Name)
	n.Kill()
	return func(ctx context.Context) error { return s.startAgain(ctx, n) }, nil
}

// killAll ends all nodes at the same time.
func killAll(_ context.Context, s *strike) (mend, error) {
	s.timeline.note("kill all nodes")
	var starts []mend
	for _, n := range s.members() {
		n.Kill()
		starts = append(starts, func(ctx context.Context) error { return s.startAgain(ctx, n) })
	}
	return func(ctx context.Context) error { return together(ctx, starts) }, nil
}

// startAgain starts a node's process from its data directory.
func (w *world) startAgain(ctx context.Context, n *harness.Node) error {
	w.timeline.note("start %s", n.Name)
	return n.Start(ctx)
}

// stop holds a node with SIGSTOP: its connections stay, and nothing answers.
func stop(ctx context.Context, s *strike) (mend, error) {
	n := s.victim(ctx)
	s.timeline.note("stop %s", n.Name)
	n.Signal(syscall.SIGSTOP)
	return func(context.Context) error {
		s.timeline.note("continue %s", n.Name)
		n.Signal(syscall.SIGCONT)
		return nil
	}, nil
}

// stutter holds and continues a node again and again, as a machine does that
// has too much to do.
func stutter(ctx context.Context, s *strike) (mend, error) {
	n := s.victim(ctx)
	s.timeline.note("make %s stutter", n.Name)
	working, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for working.Err() == nil {
			n.Signal(syscall.SIGSTOP)
			pause(working, s.between(100*time.Millisecond, 1500*time.Millisecond))
			n.Signal(syscall.SIGCONT)
			pause(working, s.between(50*time.Millisecond, 800*time.Millisecond))
		}
	}()
	return func(context.Context) error {
		cancel()
		<-done
		s.timeline.note("%s stutters no more", n.Name)
		return nil
	}, nil
}

// restart lets a node leave and come back.
func restart(ctx context.Context, s *strike) (mend, error) {
	n := s.victim(ctx)
	s.timeline.note("terminate %s", n.Name)
	if err := terminate(ctx, n); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return s.startAgain(ctx, n) }, nil
}

func terminate(ctx context.Context, n *harness.Node) error {
	ctx, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	return n.Terminate(ctx)
}

// rollingRestart restarts one node after the other, as an upgrade does.
func rollingRestart(ctx context.Context, s *strike) (mend, error) {
	for _, n := range s.members() {
		s.timeline.note("restart %s", n.Name)
		if err := terminate(ctx, n); err != nil {
			return nil, err
		}
		if err := n.Start(ctx); err != nil {
			return nil, err
		}
		if _, err := s.recover(ctx); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
