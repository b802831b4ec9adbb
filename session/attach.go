package session

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/api/entrypointpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/logs"
)

// AttachStream is the server's side of an entrypoint's Attach call.
type AttachStream interface {
	Send(*entrypointpb.Down) error
	Recv() (*entrypointpb.Up, error)
}

// attach is one attach stream.
type attach struct {
	in         *Instances
	stream     AttachStream
	deployment string
	end        context.CancelCauseFunc
	out        outbox
	heard      lastWord

	// Set when it is admitted.
	inst *instance
	row  *deploymentpb.Instance    // what the replicated row should say; guarded by Instances.mu
	turn *deploymentpb.RestartTurn // the newest turn that it has been told of; guarded by Instances.mu
	left bool                      // guarded by Instances.mu
	have held                      // guarded by the group's mutex
}

// errGoodbye is the cause of a stream's end when the process said that it ends.
var errGoodbye = errors.New("instance said goodbye")

// Attach serves one attach stream of an entrypoint whose token is for the
// deployment, until the stream ends, is replaced by a newer one, or the node
// shuts down. It calls end with the cause of such an end: that must end ctx, and
// Recv and Send. There may be thousands of these, so nothing waits beside Recv.
// Who calls Attach must survive a panic.
func (in *Instances) Attach(ctx context.Context, end context.CancelCauseFunc, stream AttachStream, deploymentID string) error {
	release, err := in.hold(ctx, end)
	if err != nil {
		return err
	}
	defer release()
	a := &attach{in: in, stream: stream, deployment: deploymentID, end: end, heard: hearing()}
	a.out.send, a.out.spawn, a.out.fail = stream.Send, in.spawn, end
	if err := a.serve(ctx); !errors.Is(err, errGoodbye) && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// serve waits for hello, admits the instance and handles what it sends.
func (a *attach) serve(ctx context.Context) error {
	hello, err := a.hello(ctx)
	if err != nil {
		return err
	}
	deployment, err := a.in.deployment(ctx, a.deployment)
	if err != nil {
		return err
	}
	if err := a.in.admit(a, hello, deployment); err != nil {
		return err
	}
	err = errDefect() // if it panics
	defer func() { a.in.leave(a, err) }()
	a.in.subscribe(ctx, a, hello.GetHave(), deployment.GetApp())
	defer a.in.unsubscribe(a)
	err = a.receive(ctx)
	return err
}

// receive handles what the instance sends, and returns why the stream ends.
func (a *attach) receive(ctx context.Context) error {
	for {
		up, err := a.recv(ctx)
		if err == nil {
			err = a.handle(up)
		}
		if err != nil {
			return err
		}
	}
}

// hello returns the first message, for which it does not wait for ever.
func (a *attach) hello(ctx context.Context) (*entrypointpb.Hello, error) {
	timer := time.AfterFunc(helloTimeout, func() {
		a.end(errs.New(errs.Deadline, "attach: no hello within %s", helloTimeout))
	})
	defer timer.Stop()
	up, err := a.recv(ctx)
	if err != nil {
		return nil, err
	}
	if up.GetHello() == nil {
		return nil, errs.New(errs.Invalid, "attach: the first message is not hello")
	}
	return up.GetHello(), nil
}

// recv returns the next message, or why the stream has ended.
func (a *attach) recv(ctx context.Context) (*entrypointpb.Up, error) {
	up, err := a.stream.Recv()
	if err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	a.heard.now()
	return up, nil
}

// endSilent ends the streams that nothing has come from for too long.
func (in *Instances) endSilent(ctx context.Context) error {
	limit := in.cfg.IdleTimeout
	ticker := time.NewTicker(limit / 8)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, a := range in.attached() {
			if a.heard.idle() >= limit {
				a.end(errs.New(errs.Unavailable, "attach: no word from the instance for %s", limit))
			}
		}
	}
}

// handle returns an error if the stream is to end.
func (a *attach) handle(up *entrypointpb.Up) error {
	switch kind := up.GetKind().(type) {
	case *entrypointpb.Up_Logs:
		a.in.takeLogs(a.inst.ring, kind.Logs)
	case *entrypointpb.Up_Child:
		a.in.childChanged(a, kind.Child)
	case *entrypointpb.Up_Ping:
		a.out.answerPing()
	case *entrypointpb.Up_Goodbye:
		a.in.goodbye(a, kind.Goodbye)
		return errGoodbye
	case *entrypointpb.Up_Hello:
		return errs.New(errs.Invalid, "attach: a second hello")
	}
	return nil
}

// deployment returns the row, for which it waits a moment if this node lags.
func (in *Instances) deployment(ctx context.Context, id string) (*deploymentpb.Deployment, error) {
	row, err := waitRow(ctx, in.cfg.Store, deploymentTimeout, id)
	switch {
	case err != nil:
		return nil, err
	case row == nil:
		return nil, errs.New(errs.NotFound, "attach: this node knows no deployment %s", id)
	case row.GetStatus() == deploymentpb.Status_STATUS_DESTROYED:
		return nil, errs.New(errs.NotFound, "attach: deployment %s has been destroyed", id)
	}
	return row, nil
}

// admit makes a the instance's stream, in place of an older one, and welcomes
// it.
func (in *Instances) admit(a *attach, hello *entrypointpb.Hello, d *deploymentpb.Deployment) error {
	id := hello.GetInstanceId()
	if _, err := ids.Time(id); err != nil || len(id) != ulidLen || hello.GetGeneration() == 0 {
		return errs.New(errs.Invalid, "attach: instance id %q or generation %d is malformed", id, hello.GetGeneration())
	}
	if known := in.cfg.Store.Read().Instance(id); known != nil && known.GetDeploymentId() != d.GetId() {
		return errs.New(errs.PermissionDenied, "attach: instance %s belongs to another deployment", id)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.draining {
		return errs.New(errs.Unavailable, "attach: this node is leaving: use another one")
	}
	inst := in.byID[id]
	switch {
	case inst == nil:
		inst = &instance{id: id, deployment: d.GetId(), ring: logs.NewRing(in.share())}
		in.byID[id] = inst
	case inst.deployment != d.GetId():
		return errs.New(errs.PermissionDenied, "attach: instance %s belongs to another deployment", id)
	case hello.GetGeneration() <= inst.generation:
		return errs.New(errs.StaleAttempt, "attach: generation %d of instance %s is not above %d, which this node has seen", hello.GetGeneration(), id, inst.generation)
	}
	if inst.live != nil {
		inst.live.end(errs.New(errs.StaleAttempt, "attach: replaced by generation %d", hello.GetGeneration()))
		moveExecs(in.execs, id)
	} else {
		in.live++
	}
	inst.generation, inst.live = hello.GetGeneration(), a
	a.inst = inst
	a.row = in.newRow(hello, d)
	in.rows.set(a.row)
	a.out.order(&entrypointpb.Down{Kind: &entrypointpb.Down_Welcome{Welcome: &entrypointpb.Welcome{
		NodeId:        in.cfg.NodeID,
		SendLogsAfter: inst.ring.Last(),
		ServerAddrs:   in.cfg.Servers(),
	}}})
	return nil
}

// leave takes a out of the registry unless a newer stream has done so.
func (in *Instances) leave(a *attach, cause error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	inst := a.inst
	if inst.live != a {
		return
	}
	inst.live, inst.left = nil, time.Now()
	if inst.exited {
		inst.ring.Close()
	}
	if in.draining || errs.Is(cause, errs.StaleAttempt) {
		moveExecs(in.execs, inst.id)
	}
	if in.live--; in.live == 0 && in.empty != nil {
		close(in.empty)
		in.empty = nil
	}
	in.cfg.Logger.Debug("instance left", "instance", inst.id, "generation", inst.generation, "cause", cause)
	if a.row.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED {
		in.changeRow(a, func(row *deploymentpb.Instance) {
			row.State = deploymentpb.InstanceState_INSTANCE_STATE_DETACHED
		})
	}
}

func (in *Instances) childChanged(a *attach, child *entrypointpb.ChildState) {
	in.mu.Lock()
	defer in.mu.Unlock()
	before := a.row.GetRestartWanted()
	in.changeRow(a, func(row *deploymentpb.Instance) { setChild(row, child) })
	if !bytes.Equal(before, a.row.GetRestartWanted()) {
		a.wantsRestart()
	}
}

func (in *Instances) goodbye(a *attach, bye *entrypointpb.Goodbye) {
	in.mu.Lock()
	defer in.mu.Unlock()
	a.inst.exited = true
	in.changeRow(a, func(row *deploymentpb.Instance) {
		row.State = deploymentpb.InstanceState_INSTANCE_STATE_EXITED
		row.ChildPid, row.RestartWanted = 0, nil
		row.ExitCode, row.AskedToEnd = bye.GetExitCode(), bye.GetAsked()
	})
}
