package entrypoint

import (
	"strings"
	"syscall"
	"time"

	"waypoint/api/entrypointpb"
)

const (
	quietTime = 200 * time.Millisecond // without a change, until changes are acted on
	maxLull   = 2 * time.Second        // for which changes that do not cease are waited out
)

// lull waits until changes that come together have all come.
type lull struct {
	timer *time.Timer // stopped while nothing is waited for
	since time.Time   // the first of them; zero without one
}

// change begins the wait, or prolongs it.
func (l *lull) change() {
	now := time.Now()
	if l.since.IsZero() {
		l.since = now
	}
	l.timer.Reset(max(0, min(quietTime, maxLull-now.Sub(l.since))))
}

func (l *lull) end() {
	l.timer.Stop()
	l.since = time.Time{}
}

// configure takes up a configuration: the child that waited for it is started,
// and one that runs hears of it when no other has come for a moment.
func (s *supervisor) configure(config *entrypointpb.Config) {
	for _, name := range s.conf.take(s.cfg.Env, config) {
		s.tellOnce("variable "+name, "configuration variable %q cannot be put into an environment and is left out", name)
	}
	switch s.phase {
	case waiting, writing:
		s.start()
	case running:
		s.lull.change()
	}
}

// settle acts on the newest configuration as its app wants it: a restart is
// asked for, or no longer, and waits for its turn; a signal is sent when the
// files are written.
// If nothing differs, as after each reconnection, nothing happens.
func (s *supervisor) settle() {
	s.lull.end()
	if s.phase != running {
		return
	}
	if with := s.conf.newest; s.conf.signals() && !s.writer.signalling(with) {
		if s.writer.order(&order{with: with, signal: true}) {
			s.setTimer(filesWait)
		} else {
			s.signalChild(with)
		}
	}
	s.reportNews()
}

// signalChild sends the signal of settings whose files are written.
func (s *supervisor) signalChild(with *settings) {
	s.conf.signalled(with)
	if sig := with.signal; sig > 0 {
		s.tell("configuration changed: sending signal %d (%s) to the command", int(sig), sig)
		s.reaper.signalOne(s.child, sig)
	}
	s.reportNews()
	if s.conf.signals() {
		s.lull.change() // another one came while the files were written
	}
}

// reportNews reports what the child has and waits for, if that has changed.
func (s *supervisor) reportNews() {
	if !s.conf.news() {
		return
	}
	wanted := s.conf.reported.GetRestartWanted() != nil
	s.state(&entrypointpb.ChildState{})
	if !wanted && s.conf.reported.GetRestartWanted() != nil {
		s.tell("configuration changed: the command is restarted when it is this instance's turn")
	}
}

// turn restarts the child for the newest configuration, if the turn is meant
// for the child that runs and there is still a reason.
func (s *supervisor) turn(starts uint32) {
	select {
	case config := <-s.configs:
		s.configure(config) // it came before the turn
	default:
	}
	if s.phase != running || starts != s.begun.starts {
		return
	}
	if !s.conf.restart() {
		s.settle()
		return
	}
	s.tell("configuration changed: restarting the command")
	s.phase = stopping
	s.stop(syscall.SIGTERM)
}

// tellFaults tells once what is wrong with files.
func (s *supervisor) tellFaults(faults []fault) {
	failed := make(map[string]bool, len(faults))
	for _, fault := range faults {
		failed["file "+fault.path] = true
		s.tellOnce("file "+fault.path, "a configuration file is not as it should be: %v", fault.err)
	}
	for subject := range s.said {
		if strings.HasPrefix(subject, "file ") && !failed[subject] {
			delete(s.said, subject)
		}
	}
}
