//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"waypoint/test/harness"
)

// noticing is how long a node that was removed may take to end.
const noticing = 30 * time.Second

// replacements are what ends with a new node in place of another one. None is
// mixed with anything: a second node that is away would take the majority that
// a replacement needs.
func replacements() []fault {
	return []fault{
		{name: "remove node", begin: removeRunning, slow: true, alone: true},
		{name: "remove absent node", begin: removeAbsent, slow: true, alone: true},
		{name: "lost data", begin: loseData, slow: true, alone: true},
		{name: "truncated log", begin: truncateLog, slow: true, alone: true},
		{name: "flipped bits", begin: flipBits, slow: true, alone: true},
	}
}

// removeRunning removes a node that runs and has no fault, as an operator does
// before the host goes.
func removeRunning(ctx context.Context, s *strike) (mend, error) {
	n := s.victim(ctx)
	if err := s.remove(ctx, n); err != nil {
		return nil, err
	}
	if err := s.findsOut(ctx, n); err != nil {
		return nil, err
	}
	return nil, s.replace(ctx, n)
}

// removeAbsent removes a node that is away, which comes back afterwards and has
// to find out.
func removeAbsent(ctx context.Context, s *strike) (mend, error) {
	n := s.victim(ctx)
	s.timeline.note("kill %s", n.Name)
	n.Kill()
	if err := s.remove(ctx, n); err != nil {
		return nil, err
	}
	s.timeline.note("start %s", n.Name)
	if err := n.Start(ctx); err != nil && n.Running() { // it may find out before it is ready
		return nil, err
	}
	if err := s.findsOut(ctx, n); err != nil {
		return nil, err
	}
	return nil, s.replace(ctx, n)
}

// loseData takes a node's data directory away, before or after its process
// ends. It must not come back as if nothing had happened.
func loseData(ctx context.Context, s *strike) (mend, error) {
	n := s.victim(ctx)
	early := s.random.IntN(2) == 0
	if early {
		s.timeline.note("take the data of %s away, which runs", n.Name)
		if err := clearFolder(n.Data); err != nil {
			return nil, err
		}
	}
	s.timeline.note("kill %s", n.Name)
	n.Kill()
	if err := clearFolder(n.Data); err != nil {
		return nil, err
	}
	if err := refusesToStart(ctx, n, "holds no node"); err != nil {
		return nil, err
	}
	s.timeline.note("%s refuses to start without its data", n.Name)
	if err := s.remove(ctx, n); err != nil {
		return nil, err
	}
	return nil, s.replace(ctx, n)
}

// remove removes a node from the cluster. There may be no leader for a moment.
func (w *world) remove(ctx context.Context, n *harness.Node) error {
	w.timeline.note("remove %s from the cluster", n.Name)
	return harness.Until(ctx, recovery, func() error {
		_, err := w.cluster.Run(ctx, "operator", "raft", "remove-peer", n.Name)
		return err
	})
}

// findsOut waits until a node that was removed has ended.
func (w *world) findsOut(ctx context.Context, n *harness.Node) error {
	ctx, cancel := context.WithTimeout(ctx, noticing)
	defer cancel()
	select {
	case <-n.Ended():
	case <-ctx.Done():
		return fmt.Errorf("node %s runs on, %s after it was removed", n.Name, noticing)
	}
	w.timeline.note("%s has found out and ended", n.Name)
	if last := n.LastLog(5); !strings.Contains(last, "removed from the cluster") {
		return fmt.Errorf("node %s does not say that it was removed:\n%s", n.Name, last)
	}
	return nil
}

// refusesToStart returns an error unless a node ends before it is ready, and
// says why.
func refusesToStart(ctx context.Context, n *harness.Node, says string) error {
	if err := n.Start(ctx); err == nil {
		return fmt.Errorf("node %s has started", n.Name)
	}
	if n.Running() {
		return fmt.Errorf("node %s is neither ready nor does it end", n.Name)
	}
	if last := n.LastLog(10); !strings.Contains(last, says) {
		return fmt.Errorf("node %s does not say %q:\n%s", n.Name, says, last)
	}
	return nil
}

// replace starts a new node in place of one that was removed and has ended.
func (w *world) replace(ctx context.Context, n *harness.Node) error {
	w.timeline.note("join a new %s", n.Name)
	if err := clearFolder(n.Data); err != nil {
		return err
	}
	return n.Join(ctx)
}

// clearFolder removes what is in a folder.
func clearFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	failed := []error{err}
	for _, e := range entries {
		failed = append(failed, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(failed...)
}
