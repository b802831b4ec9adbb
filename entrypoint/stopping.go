package entrypoint

import (
	"syscall"
	"time"
)

const (
	hurried   = 2 * time.Second        // grace after a second signal
	groupPoll = 100 * time.Millisecond // while a group is being ended
	termAgain = time.Second            // between two TERMs to what a child left behind
	resign    = 2 * time.Second        // after KILL, for what a child left behind to end
)

// group is the child's process group, which is to end with it.
type group struct {
	id       int  // 0: none, or it has ended
	former   int  // of the child before
	killed   bool // it has been sent KILL
	deadline time.Time
	asked    time.Time // when it was last sent TERM
}

func (g *group) kill(sig syscall.Signal) {
	if g.id != 0 {
		_ = syscall.Kill(-g.id, sig)
	}
}

// term asks what is left of the group to end.
func (g *group) term() {
	g.asked = time.Now()
	g.kill(syscall.SIGTERM)
}

// hurry shortens its grace.
func (g *group) hurry() {
	if soon := time.Now().Add(hurried); soon.Before(g.deadline) {
		g.deadline = soon
	}
}

// stop asks the group to end, with grace. What is stopped, as by Ctrl-Z, is
// continued, for else it would not hear of that.
func (s *supervisor) stop(sig syscall.Signal) {
	s.group.deadline, s.group.asked = time.Now().Add(s.cfg.Grace), time.Now()
	s.group.kill(sig)
	if s.halted {
		s.group.kill(syscall.SIGCONT)
	}
	s.setTimer(min(groupPoll, s.cfg.Grace))
}

// checkGroup goes on when the group that is being stopped has ended, and kills
// it when its grace is over.
func (s *supervisor) checkGroup() {
	if s.phase != stopping && s.phase != ending {
		return
	}
	left := time.Until(s.group.deadline)
	if s.child == nil && s.groupEnded(left) {
		s.group = group{former: s.group.id}
		if s.phase == ending {
			s.phase = over
			return
		}
		s.start()
		return
	}
	if left <= 0 && !s.group.killed {
		s.group.killed = true
		s.tell("the command has not ended within its grace and is killed")
		s.group.kill(syscall.SIGKILL)
	}
	// A process can miss a signal while it forks another, so what a child
	// left behind is asked again.
	if s.child == nil && !s.group.killed && time.Since(s.group.asked) >= termAgain {
		s.group.term()
	}
	// What has ended is usually reaped by us, which wakes the loop; members
	// that are somebody else's children are found by looking.
	pause := groupPoll
	if !s.group.killed {
		pause = min(pause, left)
	}
	s.setTimer(pause)
}

// groupEnded tells whether the group is gone, or what it left cannot be ended:
// a zombie of a parent that has left the group, or a process of another user.
// The child's end must not wait for those.
func (s *supervisor) groupEnded(left time.Duration) bool {
	if !groupAlive(s.group.id) {
		return true
	}
	if !s.group.killed || left > -resign {
		return false
	}
	s.tell("what the command has left behind does not end: going on without it")
	return true
}
