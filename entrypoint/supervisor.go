package entrypoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/entrypointpb"
)

// phase is what the supervisor waits for.
type phase int

const (
	waiting  phase = iota // for the first configuration
	running               // for anything
	stopping              // for the child's group to end, then it starts again
	ending                // for the child's group to end, then all is over
	over
)

const (
	codeNotFound   = 127 // as shells say it
	codeNotStarted = 126
	hurry          = 2 * time.Second        // grace after a second signal
	groupPoll      = 100 * time.Millisecond // while a group is being ended
	termAgain      = time.Second            // between two TERMs to what a child left behind
	resign         = 2 * time.Second        // after KILL, for what a child left behind to end
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
	report  func(*entrypointpb.ChildState)

	terminal bool // our standard input is a terminal, and ours
	phase    phase
	env      []string // what the child has, or is to have
	lastGood []string // with which a child has been started
	child    *process // nil: not running
	pgid     int      // of the child's group, until that has ended
	starts   uint32
	code     int
	killed   bool // the group has been sent KILL
	timer    *time.Timer
	deadline time.Time
	asked    time.Time // when the group was last sent TERM
}

// run starts the child and stays with it to its end; it returns the exit
// status.
func (s *supervisor) run() int {
	s.timer = time.NewTimer(0)
	s.timer.Stop()
	s.terminal = ownsTerminal(s.cfg.Stdin)
	s.setEnv(nil)
	if s.configs == nil {
		s.start()
	} else {
		s.setTimer(time.Until(s.cfg.Started.Add(s.cfg.ConfigWait)))
	}
	for s.phase != over {
		select {
		case sig := <-s.signals:
			s.signal(sig.(syscall.Signal))
		case config := <-s.configs:
			s.configure(config)
		case <-s.ended():
			s.childEnded()
		case <-s.reaper.changed:
			s.checkGroup()
		case <-s.timer.C:
			s.timeout()
		}
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

// configure takes up a configuration: it starts the child that waited for it,
// or restarts the one whose environment differs. If nothing differs, as after
// each reconnection, nothing happens.
func (s *supervisor) configure(config *entrypointpb.Config) {
	before := s.env
	for _, name := range s.setEnv(config.GetVariables()) {
		s.tell("configuration variable %q cannot be put into an environment and is left out", name)
	}
	switch {
	case s.phase == waiting:
		s.start()
	case s.phase == running && !slices.Equal(before, s.env) && !slices.Equal(s.lastGood, s.env):
		s.tell("configuration changed: restarting the command")
		s.phase = stopping
		s.stop(syscall.SIGTERM)
	}
}

func (s *supervisor) setEnv(vars []*entrypointpb.EnvVar) []string {
	var bad []string
	s.env, bad = environment(s.cfg.Env, vars)
	return bad
}

// start starts the child. If that fails with a new configuration the last one
// that worked is used, for a child with old values is better than none.
func (s *supervisor) start() {
	s.timer.Stop()
	s.phase, s.killed = running, false
	err := s.launch(s.env)
	if err != nil && s.lastGood != nil && !slices.Equal(s.env, s.lastGood) {
		s.tell("the command cannot be started with the new configuration and gets the one before: %v", err)
		err = s.launch(s.lastGood)
	} else if err != nil && !slices.Equal(s.env, s.cfg.Env) && !errors.Is(err, fs.ErrNotExist) {
		s.tell("the command cannot be started with its configuration and gets none: %v", err)
		err = s.launch(s.cfg.Env)
	}
	if err != nil {
		s.tell("%v", err)
		s.code = codeNotStarted
		if errors.Is(err, fs.ErrNotExist) {
			s.code = codeNotFound
		}
		s.phase = over
	}
}

func (s *supervisor) launch(env []string) error {
	path, err := lookPath(env, s.cfg.Argv[0])
	if err != nil {
		return err
	}
	child, err := s.reaper.start(path, s.cfg.Argv, &os.ProcAttr{
		Env:   env,
		Files: []*os.File{s.cfg.Stdin, s.outputs.stdout, s.outputs.stderr},
		Sys:   childAttr(s.cfg.Stdin, s.terminal),
	})
	if err != nil {
		return err
	}
	s.child, s.pgid, s.lastGood = child, child.pid, env
	s.starts++
	s.report(&entrypointpb.ChildState{Pid: uint32(child.pid), Starts: s.starts})
	return nil
}

// childEnded takes note of the child's end, and ends what it left behind.
func (s *supervisor) childEnded() {
	code := s.child.code
	s.child, s.code = nil, code
	s.report(&entrypointpb.ChildState{Starts: s.starts, Exited: true, ExitCode: int32(code)})
	switch s.phase {
	case running:
		s.phase = ending
		s.stop(syscall.SIGTERM)
	case stopping, ending:
		// The rest of the group may have begun after the first signal.
		s.term()
	}
	s.checkGroup()
}

// stop asks the group to end, with grace.
func (s *supervisor) stop(sig syscall.Signal) {
	s.deadline, s.asked = time.Now().Add(s.cfg.Grace), time.Now()
	s.killed = false
	s.kill(sig)
	s.setTimer(min(groupPoll, s.cfg.Grace))
}

// term asks what is left of the group to end.
func (s *supervisor) term() {
	s.asked = time.Now()
	s.kill(syscall.SIGTERM)
}

func (s *supervisor) kill(sig syscall.Signal) {
	if s.pgid != 0 {
		_ = syscall.Kill(-s.pgid, sig)
	}
}

// timeout is the end of a wait.
func (s *supervisor) timeout() {
	switch s.phase {
	case waiting:
		s.tell("no configuration came in time: starting the command without")
		s.start()
	case stopping, ending:
		s.checkGroup()
	}
}

// checkGroup goes on when the group that is being stopped has ended, and kills
// it when its grace is over.
func (s *supervisor) checkGroup() {
	if s.phase != stopping && s.phase != ending {
		return
	}
	left := time.Until(s.deadline)
	if s.child == nil && s.groupEnded(left) {
		s.pgid = 0
		if s.phase == ending {
			s.phase = over
			return
		}
		s.start()
		return
	}
	if left <= 0 && !s.killed {
		s.killed = true
		s.tell("the command has not ended within its grace and is killed")
		s.kill(syscall.SIGKILL)
	}
	// A process can miss a signal while it forks another, so what a child
	// left behind is asked again.
	if s.child == nil && !s.killed && time.Since(s.asked) >= termAgain {
		s.term()
	}
	// What has ended is usually reaped by us, which wakes the loop; members
	// that are somebody else's children are found by looking.
	pause := groupPoll
	if !s.killed {
		pause = min(pause, left)
	}
	s.setTimer(pause)
}

// groupEnded tells whether the group is gone, or what it left cannot be ended:
// a zombie of a parent that has left the group, or a process of another user.
// The child's end must not wait for those.
func (s *supervisor) groupEnded(left time.Duration) bool {
	if !groupAlive(s.pgid) {
		return true
	}
	if !s.killed || left > -resign {
		return false
	}
	s.tell("what the command has left behind does not end: going on without it")
	return true
}

// signal passes a signal on to the child's group. TERM and INT also begin the
// end: the group has its grace, which a second one shortens.
func (s *supervisor) signal(sig syscall.Signal) {
	last := final(sig)
	switch s.phase {
	case waiting:
		if last || sig == syscall.SIGQUIT || sig == syscall.SIGHUP {
			s.code = 128 + int(sig)
			s.phase = over
		}
	case running:
		if last {
			s.phase = ending
			s.stop(sig)
			return
		}
		s.kill(sig)
	case stopping:
		if last {
			s.phase = ending
		}
		s.kill(sig)
	case ending:
		s.kill(sig)
		if soon := time.Now().Add(hurry); last && soon.Before(s.deadline) {
			s.deadline = soon
		}
	}
}

// final tells whether a signal asks for the end.
func final(sig syscall.Signal) bool { return sig == syscall.SIGTERM || sig == syscall.SIGINT }

func (s *supervisor) setTimer(d time.Duration) { s.timer.Reset(max(d, time.Millisecond)) }

// tell says something to the log of the container and to that of the app.
func (s *supervisor) tell(format string, args ...any) {
	s.log.Warn(fmt.Sprintf(format, args...))
	if s.book != nil {
		s.book.say(format, args...)
	}
}
