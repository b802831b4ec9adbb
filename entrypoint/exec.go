package entrypoint

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/entrypointpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/task"
)

const (
	maxSessions = 32               // exec sessions at a time
	openWithin  = 10 * time.Second // for a session's first message
)

// execs runs exec sessions: commands that somebody runs beside the child.
type execs struct {
	api      entrypointpb.EntrypointClient
	instance string
	reaper   *reaper
	base     []string                 // the container's environment
	env      atomic.Pointer[[]string] // with the newest configuration
	log      hclog.Logger

	opening  chan struct{} // holds a token per session that has no command yet
	running  chan struct{} // and per session that has
	sessions sync.WaitGroup
}

func newExecs(u *uplink, r *reaper, base []string) *execs {
	e := &execs{
		api: u.api, instance: u.instance, reaper: r, base: base, log: u.log,
		opening: make(chan struct{}, maxSessions), running: make(chan struct{}, maxSessions),
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

// open takes up a session in the background. It ends when ctx does.
func (e *execs) open(ctx context.Context, id string) {
	select {
	case e.opening <- struct{}{}:
	default:
		e.log.Warn("too many exec sessions are asked for at a time: one is ignored", "session", id)
		return
	}
	e.sessions.Go(func() {
		err := task.Protect(func() error { return e.serve(ctx, id) })
		if err != nil && ctx.Err() == nil {
			e.log.Debug("exec session failed", "session", id, "cause", err)
		}
	})
}

// wait waits for all sessions; their context must have ended.
func (e *execs) wait() { e.sessions.Wait() }

// serve runs one session: it names it, learns the command, and carries bytes
// both ways until the command has ended or the stream has.
func (e *execs) serve(ctx context.Context, id string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c, stream, err := e.begin(ctx, cancel, id)
	<-e.opening
	if c == nil {
		return err
	}
	defer func() { <-e.running }()
	return c.serve(ctx, cancel, stream, id, e.instance)
}

// begin opens the session's stream and starts the command that it names. It
// returns no command if that was refused or the stream failed.
func (e *execs) begin(ctx context.Context, cancel context.CancelCauseFunc, id string) (*command, *execStream, error) {
	raw, err := e.api.Exec(ctx)
	if err != nil {
		return nil, nil, err
	}
	stream := &execStream{raw: raw}
	late := time.AfterFunc(openWithin, func() { cancel(errs.New(errs.Deadline, "the session did not go on")) })
	defer late.Stop()
	if err := raw.Send(&entrypointpb.ExecUp{SessionId: id, InstanceId: e.instance}); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	first, err := raw.Recv()
	if err != nil {
		return nil, nil, err
	}
	select {
	case e.running <- struct{}{}:
	default:
		return nil, nil, stream.refuse(errs.New(errs.Exhausted, "this instance has %d exec sessions already", maxSessions))
	}
	c, err := e.start(first.GetOpen())
	if err != nil {
		<-e.running
		return nil, nil, stream.refuse(err)
	}
	return c, stream, nil
}

// start starts the command of a session.
func (e *execs) start(open *execpb.Open) (*command, error) {
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

// execStream is the entrypoint's side of a session's stream.
type execStream struct {
	raw     entrypointpb.Entrypoint_ExecClient
	sending sync.Mutex
}

// send sends one output; nil is a message without meaning. It fails when the
// stream has ended.
func (s *execStream) send(out *execpb.Output) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.raw.Send(&entrypointpb.ExecUp{Output: out})
}

// last sends the last message and waits until the home node has taken it.
func (s *execStream) last(out *execpb.Output) error {
	if err := s.send(out); err != nil {
		return err
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.raw.CloseSend()
}

// refuse says that no command was started.
func (s *execStream) refuse(err error) error {
	if err := s.last(&execpb.Output{Kind: &execpb.Output_Refused{Refused: errs.ToProto(err)}}); err != nil {
		return err
	}
	for {
		if _, err := s.raw.Recv(); err != nil {
			return nil // the home node has ended the session
		}
	}
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// killGroup ends a session's processes at once: those in the background of
// its terminal get a hangup when that is closed.
func killGroup(pgid int) { _ = syscall.Kill(-pgid, syscall.SIGKILL) }
