package entrypoint

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/entrypointpb"
)

const (
	lastWords = 200 * time.Millisecond // for our own log at the end
	tidyUp    = 2 * time.Second        // for our own tasks to end: the exit status waits no longer
	signals   = 64                     // how many may wait for the supervisor
)

// Run runs the command to its end and returns the exit status for the
// process. It takes over all of the process's signals and waits; a process
// runs it once.
func Run(ctx context.Context, cfg Config) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	words := newQuietly(cfg.Stderr)
	defer words.finish(lastWords)
	log := hclog.New(&hclog.LoggerOptions{
		Name: "waypoint-entrypoint", Output: words, Level: hclog.Info, DisableTime: true,
	})
	for _, complaint := range cfg.complaints {
		log.Warn(complaint)
	}
	// They stay caught: one that comes between here and the process's exit must
	// not replace the exit status.
	caught := catchSignals()
	if os.Getpid() != 1 {
		if err := becomeSubreaper(); err != nil {
			log.Debug("orphans will not be reaped", "cause", err)
		}
	}
	reaper := newReaper(cfg.fork)
	var tasks sync.WaitGroup
	defer within(tidyUp, tasks.Wait)
	defer cancel()
	tasks.Go(func() { reaper.run(ctx) })

	s := &supervisor{
		cfg: cfg, log: log, reaper: reaper, signals: caught,
		report: func(*entrypointpb.ChildState) {},
	}
	up := connect(cfg, log)
	if up == nil {
		s.outputs, _ = openOutputs(nil, cfg.Stdout, cfg.Stderr)
		return s.run()
	}
	return runAttached(ctx, s, up, &tasks)
}

// connect prepares the connection to the cluster; nil if there is to be none.
func connect(cfg Config, log hclog.Logger) *uplink {
	if len(cfg.Addrs) == 0 || cfg.Disable {
		return nil
	}
	err := cfg.Problem
	if err == nil {
		var up *uplink
		if up, err = newUplink(cfg, log, newLogbook(cfg.LogBytes)); err == nil {
			return up
		}
	}
	if cfg.RequireConfig {
		log.Error("there is no connection to the cluster", "cause", err)
	} else {
		log.Error("running the command without the cluster", "cause", err)
	}
	return nil
}

// runAttached runs the supervisor beside the uplink, and at the end sends what
// is left to say.
func runAttached(ctx context.Context, s *supervisor, up *uplink, tasks *sync.WaitGroup) int {
	outputs, err := openOutputs(up.book, s.cfg.Stdout, s.cfg.Stderr)
	if err != nil {
		s.log.Error("logs go to the container only", "cause", err)
		outputs, _ = openOutputs(nil, s.cfg.Stdout, s.cfg.Stderr)
	}
	s.book, s.outputs, s.configs, s.turns, s.report = up.book, outputs, up.configs, up.turns, up.report
	up.execs = newExecs(up, s.reaper, s.cfg.Env)
	up.execs.disabled = s.cfg.DisableExec

	ctx, cancel := context.WithCancel(ctx)
	tasks.Go(func() { up.run(ctx) })
	code := s.run()
	outputs.finish(s.cfg.Flush, s.cfg.Grace, s.signals)
	up.finish(&entrypointpb.Goodbye{ExitCode: int32(code), Asked: s.asked}, s.cfg.Flush)
	cancel()
	within(tidyUp, func() {
		_ = up.client.Close()
		up.execs.wait()
	})
	return code
}

// within waits for fn, but no longer than limit.
func within(limit time.Duration, fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// catchSignals catches everything that can be passed on to a child. Not among
// them are SIGURG, with which the runtime interrupts itself, SIGPIPE, which is
// about our own writes, 32 and 33, which the C libraries use inside a process,
// and what we were started with ignored.
func catchSignals() chan os.Signal {
	caught := make(chan os.Signal, signals)
	for n := 1; n <= 64; n++ {
		sig := syscall.Signal(n)
		switch sig {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE:
		default:
			if !signal.Ignored(sig) {
				signal.Notify(caught, sig)
			}
		}
	}
	_ = catchRest(caught)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE) // nobody listens: writes fail instead
	return caught
}
