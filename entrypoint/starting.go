package entrypoint

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"waypoint/api/entrypointpb"
)

const (
	codeNotFound   = 127 // as shells say it
	codeNotStarted = 126

	filesAgain = 10 * time.Second       // until a start that lacks its files is tried again
	filesWait  = 2 * time.Second        // for files to be written, with a child before
	filesLeast = 250 * time.Millisecond // for files to be written, however late the first start is
	startAgain = time.Second            // until a start is tried again for want of memory and the like
	firstAgain = 200 * time.Millisecond // the same, when the command has not run yet
	firstTries = 5                      // of the first start
)

// errFiles is a start that was given up because files could not be written.
var errFiles = errors.New("not all files of the configuration could be written")

// begun is the start of a child that is under way.
type begun struct {
	with   *settings
	last   bool   // if this fails there are no other settings to try
	tries  int    // that failed for want of memory and the like since the last child
	starts uint32 // children that were started
}

// start starts the child with the newest configuration. If that fails the last
// one that worked is used, for a child with old values is better than none.
func (s *supervisor) start() {
	s.lull.end()
	s.begin(s.conf.newest, false)
}

// begin starts the child when its files are written, or have been waited for
// long enough.
func (s *supervisor) begin(with *settings, last bool) {
	waits := s.phase == writing && !last
	s.phase, s.begun.with, s.begun.last = writing, with, last
	switch {
	case !s.writer.order(&order{with: with, anew: true}):
		s.launch()
	case waits: // for an older configuration, and no longer for a newer one
	case s.begun.starts > 0:
		s.setTimer(filesWait)
	default:
		s.setTimer(max(filesLeast, time.Until(s.cfg.Started.Add(s.cfg.ConfigWait))))
	}
}

// wrote goes on with what files were written for.
func (s *supervisor) wrote(o *order) {
	if !s.writer.took(o) {
		return
	}
	s.tellFaults(o.faults)
	delete(s.said, "files")
	switch {
	case s.phase == writing && s.cfg.RequireConfig && o.missing():
		s.timer.Stop()
		s.fallBack(errFiles)
	case s.phase == writing:
		s.launch()
	case s.phase == running && o.signal:
		s.timer.Stop()
		s.signalChild(o.with)
	}
}

// filesLate goes on without files that are still being written.
func (s *supervisor) filesLate() {
	switch {
	case s.phase == running:
		s.tellOnce("files", "the configuration's files are not written yet, as on a drive that does not answer: the command is signalled when they are")
	case s.cfg.RequireConfig:
		s.tellOnce("files", "the configuration's files are not written yet, as on a drive that does not answer: the command is not started before, as %s asks", EnvRequireConfig)
	default:
		s.tellOnce("files", "the configuration's files are not written yet, as on a drive that does not answer: starting the command without waiting for them")
		s.launch()
	}
}

// launch starts the child.
func (s *supervisor) launch() {
	s.timer.Stop()
	with := s.begun.with
	child, err := s.fork(with)
	if err != nil {
		s.fallBack(err)
		return
	}
	s.phase, s.child, s.halted, s.group = running, child, false, group{id: child.pid}
	s.begun.starts++
	s.begun.tries = 0
	delete(s.said, "start")
	delete(s.said, "settings")
	s.conf.started(with)
	s.state(&entrypointpb.ChildState{})
}

func (s *supervisor) fork(with *settings) (*process, error) {
	path, err := lookPath(with.env, s.cfg.Argv[0])
	if err != nil {
		return nil, err
	}
	return s.reaper.start(path, s.cfg.Argv, &os.ProcAttr{
		Env:   with.env,
		Files: []*os.File{s.cfg.Stdin, s.outputs.stdout, s.outputs.stderr},
		Sys:   childAttr(s.cfg.Stdin, ownsTerminal(s.cfg.Stdin, s.group.former)),
	})
}

// fallBack goes on after a start that failed: it is tried again if the cause
// may pass, or with other settings, or is given up.
func (s *supervisor) fallBack(err error) {
	with, has, bare := s.begun.with, s.conf.has, s.conf.bare
	switch {
	case s.tryAgain(err):
	case s.begun.last:
		s.giveUp(err)
	case has != nil && !with.same(has):
		s.conf.failed = with
		s.tellOnce("settings", "the command cannot be started with the new configuration and gets the one before: %v", err)
		s.begin(has, true)
	case !with.same(bare) && !s.cfg.RequireConfig && (!errors.Is(err, fs.ErrNotExist) || s.hides(with)):
		s.conf.failed = with
		s.tellOnce("settings", "the command cannot be started with its configuration and gets none: %v", err)
		s.begin(bare, true)
	default:
		s.giveUp(err)
	}
}

// tryAgain waits for another try if what keeps the command from starting may
// pass. A command that has run gets as many as it takes.
func (s *supervisor) tryAgain(err error) bool {
	passes := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ETXTBSY)
	ran := s.begun.starts > 0
	if !passes || !ran && s.begun.tries+1 >= firstTries {
		return false
	}
	s.begun.tries++
	s.phase = waiting
	s.tellOnce("start", "the command cannot be started now, trying again: %v", err)
	if ran {
		s.setTimer(startAgain)
	} else {
		s.setTimer(firstAgain)
	}
	return true
}

// hides tells whether settings may keep a command from being found that would
// be found without them.
func (s *supervisor) hides(with *settings) bool {
	return !strings.Contains(s.cfg.Argv[0], "/") && lookup(with.env, "PATH") != lookup(s.conf.bare.env, "PATH")
}

// giveUp ends a start for which nothing is left to try, and all with it unless
// it only lacks files.
func (s *supervisor) giveUp(err error) {
	if errors.Is(err, errFiles) {
		s.phase = waiting
		s.tellOnce("start", "the command is not started without its files, as %s asks; trying on", EnvRequireConfig)
		s.setTimer(filesAgain)
		return
	}
	s.tell("%v", err)
	s.code = codeNotStarted
	if errors.Is(err, fs.ErrNotExist) {
		s.code = codeNotFound
	}
	s.phase = over
}
