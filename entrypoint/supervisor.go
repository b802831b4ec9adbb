package entrypoint

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/entrypointpb"
)

// phase is what the supervisor waits for.
type phase int

const (
	waiting  phase = iota // for a configuration, to start the child with
	writing               // for its files, to start the child
	running               // for anything
	stopping              // for the child's group to end, then it starts again
	ending                // for the child's group to end, then all is over
	over
)

// supervisor is the one owner of the child. Its loop takes every decision and
// never waits for anything but its events.
type supervisor struct {
	cfg     Config
	log     hclog.Logger
	book    *logbook // nil without servers
	reaper  *reaper
	outputs *outputs
	signals <-chan os.Signal
	configs <-chan *entrypointpb.Config // one slot, the newest wins
	turns   <-chan uint32               // one slot: starts for which a restart is granted
	report  func(*entrypointpb.ChildState)

	phase  phase
	conf   *configured
	writer *writer
	said   map[string]string // what tellOnce has said
	child  *process          // nil: not running
	halted bool              // the child was last seen stopped, as by Ctrl-Z
	group  group
	begun  begun
	outcome
	timer *time.Timer // of the phase
	lull  lull        // after changes
}

// outcome is how the supervisor's work ends.
type outcome struct {
	code  int  // the exit status
	asked bool // a signal asked for the end, it did not come by itself
}

// run starts the child and stays with it to its end; it returns the exit
// status.
func (s *supervisor) run() int {
	s.timer = stoppedTimer()
	s.lull = lull{timer: stoppedTimer()}
	s.conf, s.said = newConfigured(s.cfg.Env), make(map[string]string)
	s.writer = newWriter(newFiles(s.cfg.replace))
	switch {
	case s.configs != nil:
		s.setTimer(time.Until(s.cfg.Started.Add(s.cfg.ConfigWait)))
	case s.cfg.RequireConfig && !s.cfg.Disable:
		s.tell("no configuration can come: the command is not started, as %s asks; set %s, %s and %s or %s", EnvRequireConfig, EnvAddr, EnvCA, EnvToken, EnvTokenFile)
	default:
		s.start()
	}
	for s.phase != over {
		select {
		case sig := <-s.signals:
			s.signal(sig.(syscall.Signal))
		case config := <-s.configs:
			s.configure(config)
		case starts := <-s.turns:
			s.turn(starts)
		case order := <-s.writer.done:
			s.wrote(order)
		case <-s.lull.timer.C:
			s.settle()
		case <-s.ended():
			s.childEnded()
		case <-s.stopped():
			s.childStopped()
		case <-s.reaper.changed:
			s.checkGroup()
		case <-s.timer.C:
			s.timeout()
		}
	}
	s.writer.finish(lastWords)
	if ownsTerminal(s.cfg.Stdin, s.group.former) {
		_ = setForeground(s.cfg.Stdin, syscall.Getpgrp()) // for what comes after us in a script
	}
	return s.code
}

// ended is closed when the child has ended; nil without a child.
func (s *supervisor) ended() <-chan struct{} {
	if s.child == nil {
		return nil
	}
	return s.child.ended
}

// stopped has a token when the child has been stopped, as by Ctrl-Z.
func (s *supervisor) stopped() <-chan struct{} {
	if s.child == nil {
		return nil
	}
	return s.child.stopped
}

// state reports the child's state.
func (s *supervisor) state(state *entrypointpb.ChildState) {
	if s.child != nil {
		state.Pid = uint32(s.child.pid)
	}
	state.Starts = s.begun.starts
	s.report(s.conf.report(state))
}

// childEnded takes note of the child's end, and ends what it left behind.
func (s *supervisor) childEnded() {
	code := s.child.code
	s.child, s.code = nil, code
	s.state(&entrypointpb.ChildState{Exited: true, ExitCode: int32(code)})
	switch s.phase {
	case running:
		s.phase = ending
		s.stop(syscall.SIGTERM)
	case stopping, ending:
		// The rest of the group may have begun after the first signal.
		s.group.term()
	}
	s.checkGroup()
}

// timeout is the end of a wait.
func (s *supervisor) timeout() {
	switch {
	case s.phase == stopping || s.phase == ending:
		s.checkGroup()
	case s.phase == writing || s.phase == running:
		s.filesLate()
	case s.phase != waiting:
	case s.conf.come() || s.begun.tries > 0:
		s.start() // again
	case s.cfg.RequireConfig:
		s.tell("no configuration has come yet: the command is not started before, as %s asks", EnvRequireConfig)
	default:
		s.tell("no configuration came in time: starting the command without")
		s.start()
	}
}

// signal passes a signal on to the child's group. TERM and INT also begin the
// end: the group has its grace, which a second one shortens.
func (s *supervisor) signal(sig syscall.Signal) {
	last := final(sig)
	if sig == syscall.SIGCONT {
		s.foreground()
	}
	switch s.phase {
	case waiting, writing:
		if last || sig == syscall.SIGQUIT || sig == syscall.SIGHUP {
			s.code, s.asked = 128+int(sig), true
			s.phase = over
		} else if sig == syscall.SIGTSTP && shellWaits() {
			stopOurselves()
		}
	case running:
		if last {
			s.phase, s.asked = ending, true
			s.stop(sig)
			return
		}
		s.group.kill(sig)
	case stopping:
		if last {
			s.phase, s.asked = ending, true
		}
		s.group.kill(sig)
	case ending:
		s.group.kill(sig)
		if last {
			s.group.hurry()
		}
	}
}

// final tells whether a signal asks for the end.
func final(sig syscall.Signal) bool { return sig == syscall.SIGTERM || sig == syscall.SIGINT }

// childStopped follows the child into a stop if somebody's shell waits for us,
// so that its prompt comes back; the shell continues us, and we the child. A
// child that is to end is not let off by that.
func (s *supervisor) childStopped() {
	s.halted = true
	switch {
	case s.phase != running:
		s.group.kill(syscall.SIGCONT)
	case shellWaits():
		stopOurselves()
	}
}

// foreground is for a continued entrypoint: what the shell has given us of the
// terminal is the child's.
func (s *supervisor) foreground() {
	s.halted = false
	if s.group.id != 0 && ownsTerminal(s.cfg.Stdin, 0) {
		_ = setForeground(s.cfg.Stdin, s.group.id)
	}
}

func (s *supervisor) setTimer(d time.Duration) { s.timer.Reset(max(d, time.Millisecond)) }

func stoppedTimer() *time.Timer {
	timer := time.NewTimer(0)
	timer.Stop()
	return timer
}

// tell says something to the log of the container and to that of the app.
func (s *supervisor) tell(format string, args ...any) {
	s.log.Warn(fmt.Sprintf(format, args...))
	if s.book != nil {
		s.book.say(format, args...)
	}
}

// tellOnce is tell for what is found again and again: a subject is told of
// when there is something else to say of it, or it was well in between.
func (s *supervisor) tellOnce(subject, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if cause := causeOf(text); s.said[subject] != cause {
		s.said[subject] = cause
		s.tell("%s", text)
	}
}
