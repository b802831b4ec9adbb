package entrypoint

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/entrypointpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/task"
)

const (
	maxSessions = 32               // exec sessions at a time, those that wait to be resumed included
	tidyAfter   = time.Second      // without a session
	openWithin  = 10 * time.Second // for a stream's first message, and for its end
	placeWait   = time.Second      // for another session to end
)

// execs runs exec sessions: commands that somebody runs beside the child.
type execs struct {
	api      entrypointpb.EntrypointClient
	instance string
	disabled bool
	reaper   *reaper
	base     []string                 // the container's environment
	env      atomic.Pointer[[]string] // with the newest configuration
	log      hclog.Logger

	opening chan struct{} // holds a token per stream that names no session yet
	running chan struct{} // and per session
	tasks   sync.WaitGroup

	mu   sync.Mutex
	byID map[string]*execSession // nil while the command is being started
	tidy *time.Timer             // gives memory back; nil before the first session
}

func newExecs(u *uplink, r *reaper, base []string) *execs {
	e := &execs{
		api: u.api, instance: u.instance, reaper: r, base: base, log: u.log,
		opening: make(chan struct{}, maxSessions), running: make(chan struct{}, maxSessions),
		byID: make(map[string]*execSession),
	}
	e.env.Store(&base)
	return e
}

// configure sets the environment of the sessions that follow. It is called
// before a later message of the home node is handled, so a session never has
// an older configuration than the one that came before its order.
func (e *execs) configure(vars []*entrypointpb.EnvVar) {
	env, _ := environment(e.base, vars)
	e.env.Store(&env)
}

// open takes up a session in the background, or goes on with it. All of it
// ends when ctx does.
func (e *execs) open(ctx context.Context, id string) {
	select {
	case e.opening <- struct{}{}:
	default:
		e.log.Warn("too many exec sessions are asked for at a time: one is ignored", "session", id)
		return
	}
	e.tasks.Go(func() {
		err := task.Protect(func() error { return e.serve(ctx, id) })
		if err != nil && ctx.Err() == nil {
			e.log.Debug("exec stream failed", "session", id, "cause", err)
		}
	})
}

// wait waits for all sessions; their context must have ended.
func (e *execs) wait() { e.tasks.Wait() }

// serve opens a stream, learns for which session it is, and carries the
// session over it until the stream ends.
func (e *execs) serve(ctx context.Context, id string) error {
	base := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	link, open, err := e.begin(ctx, cancel, id)
	<-e.opening
	if err != nil {
		return err
	}
	s, err := e.session(base, id, open, link)
	if err != nil {
		return link.refuse(err)
	}
	s.carry(link)
	return nil
}

// begin opens a stream and receives what it is for.
func (e *execs) begin(ctx context.Context, cancel context.CancelCauseFunc, id string) (*execLink, *execpb.Open, error) {
	late := time.AfterFunc(openWithin, func() { cancel(errs.New(errs.Deadline, "the session did not go on")) })
	defer late.Stop()
	raw, err := e.api.Exec(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := raw.Send(&entrypointpb.ExecUp{SessionId: id, InstanceId: e.instance}); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	first, err := raw.Recv()
	if err != nil {
		return nil, nil, err
	}
	return &execLink{raw: raw, ctx: ctx, cancel: cancel}, first.GetOpen(), nil
}

// session starts the session that open asks for, or finds the one to resume,
// and gives it the stream.
func (e *execs) session(ctx context.Context, id string, open *execpb.Open, link *execLink) (*execSession, error) {
	if e.disabled {
		return nil, errs.New(errs.PermissionDenied, "exec is disabled for this instance by %s", EnvDisableExec)
	}
	if open.GetResume() != nil {
		e.mu.Lock()
		s := e.byID[id]
		e.mu.Unlock()
		return s, s.resume(id, open, link)
	}
	if !e.place(ctx) {
		return nil, errs.New(errs.Exhausted, "this instance has %d exec sessions already", maxSessions)
	}
	if !e.reserve(id) {
		<-e.running
		return nil, errs.New(errs.AlreadyExists, "exec session %s has been opened already", id)
	}
	started := false
	defer func() {
		if !started {
			e.forget(id)
		}
	}()
	c, err := e.start(link.ctx, open)
	if err != nil {
		return nil, err
	}
	started = true
	ctx, end := context.WithCancelCause(ctx)
	s := newExecSession(id, e.instance, open, c, end)
	s.bind(link, &execpb.Resume{})
	e.mu.Lock()
	e.byID[id] = s
	e.mu.Unlock()
	e.tasks.Go(func() {
		defer e.forget(id)
		defer end(errStreamEnded)
		_ = task.Protect(func() error { s.run(ctx); return nil })
	})
	return s, nil
}

// reserve takes an id for a session that is about to start; false if it is
// taken. To start may take long, as on a file system that does not answer, and
// holds up no other session.
func (e *execs) reserve(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, taken := e.byID[id]; taken {
		return false
	}
	e.byID[id] = nil
	return true
}

// place takes a place for a session. Who has just seen a session end may ask
// for another before its place is free here, so that it waits a moment.
func (e *execs) place(ctx context.Context) bool {
	timer := time.NewTimer(placeWait)
	defer timer.Stop()
	select {
	case e.running <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (e *execs) forget(id string) {
	e.mu.Lock()
	delete(e.byID, id)
	if len(e.byID) == 0 {
		if e.tidy == nil {
			e.tidy = time.AfterFunc(tidyAfter, e.giveBack)
		} else {
			e.tidy.Reset(tidyAfter)
		}
	}
	e.mu.Unlock()
	<-e.running
}

// giveBack gives the memory of sessions back to the system, since the runtime
// of a process that then does little would keep it for minutes.
func (e *execs) giveBack() {
	e.mu.Lock()
	idle := len(e.byID) == 0
	e.mu.Unlock()
	if idle {
		runtime.GC() // pools keep what they have for one collection
		debug.FreeOSMemory()
	}
}

// start starts the command of a session, unless the one who asked is gone by
// then.
func (e *execs) start(ctx context.Context, open *execpb.Open) (*command, error) {
	if len(open.GetArgv()) == 0 {
		return nil, errs.New(errs.Invalid, "the session names no command")
	}
	env := *e.env.Load()
	if open.GetTty() && open.GetTerm() != "" {
		env, _ = environment(env, []*entrypointpb.EnvVar{{Name: "TERM", Value: open.GetTerm()}})
	}
	path, err := lookPath(env, open.GetArgv()[0])
	if err != nil {
		return nil, errs.New(errs.NotFound, "%w", err)
	}
	_, _ = os.Stat(path) // what hangs is to hang here, where it holds up nobody
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c := &command{reaper: e.reaper, asked: make(chan struct{}, 1)}
	files, err := c.openFiles(open)
	defer closeAll(files...)
	if err == nil {
		c.process, err = e.reaper.start(path, open.GetArgv(), &os.ProcAttr{Env: env, Files: files, Sys: sessionAttr(open.GetTty())})
	}
	if err != nil {
		c.close()
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	return c, nil
}

// resume gives the session a stream in place of the one that was lost. What
// names no session, or not all of it, is refused; so is another token than the
// one that opened it.
func (s *execSession) resume(id string, open *execpb.Open, link *execLink) error {
	switch {
	case s == nil:
		return errs.New(errs.NotFound, "exec session %s cannot be resumed: it has ended, or this instance never had it", id)
	case !s.resumable:
		return errs.New(errs.Conflict, "exec session %s cannot be resumed: it was not opened so", id)
	case s.token != open.GetTokenId():
		return errs.New(errs.PermissionDenied, "exec session %s cannot be resumed with another token than the one that opened it", id)
	case !slices.Equal(s.argv, open.GetArgv()):
		return errs.New(errs.Conflict, "exec session %s cannot be resumed: it runs another command", id)
	}
	return s.bind(link, open.GetResume())
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
