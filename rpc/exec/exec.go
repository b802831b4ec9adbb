// Package exec serves users who run a command inside an instance: it finds the
// instance and its home node, and carries the session there, unchanged. It keeps
// nothing of what passes through, so a session can be resumed through any node.
package exec

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/call"
	"waypoint/rpc/read"
	"waypoint/session"
	"waypoint/state"
)

// Local runs sessions in instances that are attached to this node.
type Local interface {
	Exec(ctx context.Context, open *execpb.Open, side session.ExecSide) error
	// Row returns the row of an instance that is attached to this node, as it
	// is to be once there is a quorum to record it; nil if it is elsewhere.
	Row(instanceID string) *deploymentpb.Instance
	// Leaving is closed when this node is about to stop.
	Leaving() <-chan struct{}
}

var _ Local = (*session.Instances)(nil)

// Config is what the service needs.
type Config struct {
	Reader *read.Reader
	NodeID string
	Local  Local
	// Peer returns a connection to another node.
	Peer func(nodeID string) (grpc.ClientConnInterface, error)
	// Now is the cluster's time. Default: time.Now.
	Now func() time.Time
}

// Service answers for package waypoint.exec.
type Service struct {
	execpb.UnimplementedExecServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{cfg: cfg}
}

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { execpb.RegisterExecServer(r, s) }

const (
	// freshWait bounds how long a session waits to learn the newest state.
	// Without a quorum it goes by what this node knows.
	freshWait = 2 * time.Second
	// moveWait bounds how long a session waits for an instance that is on its
	// way from one node to another.
	moveWait = 5 * time.Second
	// answerWait bounds how long a home node may take to answer. It gives the
	// entrypoint 10 s itself.
	answerWait = 13 * time.Second
	// resumeWait and resumePause are for a session that is resumed: its
	// instance may be on its way, and the caller tries other nodes as well.
	resumeWait   = 4 * time.Second
	resumePause  = 100 * time.Millisecond
	resumeAnswer = 4 * time.Second
	// idAge is how far from now the time in a new session's id may be.
	idAge = 5 * time.Minute
)

var errLeaving = errs.New(errs.Unavailable, "exec: this node is leaving: resume the session through another one")

// Start runs one session. It returns nil after the command's exit code, or the
// refusal to start it, has been sent.
func (s *Service) Start(stream execpb.Exec_StartServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	open := first.GetOpen()
	switch {
	case open == nil:
		return errs.New(errs.Invalid, "exec: the first message is not open")
	case len(open.GetArgv()) == 0:
		return errs.New(errs.Invalid, "exec: no command given")
	case open.GetInstanceId() == "" && (open.GetApp().GetProject() == "" || open.GetApp().GetApp() == ""):
		return errs.New(errs.Invalid, "exec: name an app or an instance")
	case open.GetResume() != nil && (open.GetInstanceId() == "" || open.GetSessionId() == ""):
		return errs.New(errs.Invalid, "exec: to resume a session, name it and its instance")
	}
	if err := identify(open, s.cfg.Now()); err != nil {
		return err
	}
	// Who asks is what the call proves, never what the message says.
	caller := call.From(stream.Context())
	open.TokenId, open.Subject = caller.TokenID, caller.Subject
	ctx, end := s.untilLeaving(stream.Context(), open)
	defer end()
	if open.GetResume() != nil {
		return s.resume(ctx, open, newFront(stream))
	}
	return s.start(ctx, open, newFront(stream))
}

// identify gives a session an id, or looks at the one that the caller has made.
// A new session's is of now: the record of an older one may be gone, and a
// record stands where its id says.
func identify(open *execpb.Open, now time.Time) error {
	if open.GetSessionId() == "" {
		open.SessionId = ids.At(now)
	}
	at, err := ids.Time(open.GetSessionId())
	switch off := now.Sub(at); {
	case err != nil:
		return errs.New(errs.Invalid, "exec: session id %q is not a ULID", open.GetSessionId())
	case open.GetResume() == nil && off.Abs() > idAge:
		return errs.New(errs.Invalid, "exec: session id %s is of a time %s away from the cluster's: set the clock, or leave the id out",
			open.GetSessionId(), off.Abs().Round(time.Second))
	}
	return nil
}

// untilLeaving ends a session that can be resumed elsewhere as soon as this
// node leaves.
func (s *Service) untilLeaving(ctx context.Context, open *execpb.Open) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if !open.GetResumable() {
		return ctx, func() { cancel(nil) }
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-s.cfg.Local.Leaving():
			cancel(errLeaving)
		case <-ctx.Done():
		}
	})
	return ctx, func() { cancel(nil); watching.Wait() }
}

// resume goes on with a session in an instance that may be on its way to
// another home. It asks where the instance is said to be, again and again for a
// while, since without a quorum a home is known to itself only.
func (s *Service) resume(ctx context.Context, open *execpb.Open, side *front) error {
	bounded, cancel := context.WithTimeout(ctx, resumeWait)
	defer cancel()
	for {
		changes := state.NewWatchSet()
		row := s.cfg.Local.Row(open.GetInstanceId())
		if known := s.cfg.Reader.Local().Watch(changes).Instance(open.GetInstanceId()); known.GetGeneration() >= row.GetGeneration() {
			row = known
		}
		if row.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_EXITED {
			return errs.New(errs.Conflict, "exec: session %s cannot be resumed: instance %s has ended with exit code %d", open.GetSessionId(), row.GetId(), row.GetExitCode())
		}
		failed := errs.New(errs.Unavailable, "exec: this node does not know instance %s", open.GetInstanceId())
		if row != nil {
			err := s.carry(ctx, s.home(row), named(open, row), side, resumeAnswer)
			if err == nil || ctx.Err() != nil || side.begun() || !errs.Is(err, errs.Unavailable) {
				return ended(ctx, err)
			}
			failed = errs.New(errs.Unavailable, "%w", err)
		}
		pause, stop := context.WithTimeout(bounded, resumePause)
		_ = changes.Wait(pause)
		stop()
		if bounded.Err() != nil {
			return ended(ctx, failed)
		}
	}
}

// ended is the error of a session, which is this node's leaving if that was the
// reason.
func ended(ctx context.Context, err error) error {
	if err != nil && !errs.Is(err, errs.OutcomeUnknown) && errors.Is(context.Cause(ctx), errLeaving) {
		return errLeaving
	}
	return err
}

// named is the order for a session in the instance of row.
func named(open *execpb.Open, row *deploymentpb.Instance) *execpb.Open {
	order := proto.CloneOf(open)
	order.App, order.InstanceId = row.GetApp(), row.GetId()
	return order
}

// start finds the instance and carries the session to its home. While it is
// sure that the instance has not heard of the session, it waits a moment for
// the instance to attach elsewhere, or takes another one.
func (s *Service) start(ctx context.Context, open *execpb.Open, side *front) error {
	tx, err := s.view(ctx)
	if err != nil {
		return err
	}
	if tx.ExecSession(open.GetSessionId()) != nil {
		return errs.New(errs.Conflict, "exec: there is a record of a session %s already: use another id", open.GetSessionId())
	}
	bounded, cancel := context.WithTimeout(ctx, moveWait)
	defer cancel()
	tried := map[*deploymentpb.Instance]bool{}
	row, err := choose(tx, open, tried)
	if err != nil {
		return err
	}
	for {
		failed := s.carry(ctx, s.home(row), named(open, row), side, answerWait)
		if failed == nil || ctx.Err() != nil || side.begun() || !errs.Is(failed, errs.Unavailable) {
			return ended(ctx, failed)
		}
		tried[row] = true
		if row = s.another(bounded, open, tried); row == nil {
			return failed
		}
	}
}

// view returns the newest state, or without a quorum what this node knows.
func (s *Service) view(ctx context.Context) (*state.Tx, error) {
	bounded, cancel := context.WithTimeout(ctx, freshWait)
	defer cancel()
	tx, err := s.cfg.Reader.Tx(bounded)
	if err != nil && ctx.Err() == nil && (errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Deadline)) {
		return s.cfg.Reader.Local(), nil
	}
	return tx, err
}

// another returns a row that has not been tried: of another instance, or of the
// one that was named once it has moved. It returns nil if that takes too long.
func (s *Service) another(ctx context.Context, open *execpb.Open, tried map[*deploymentpb.Instance]bool) *deploymentpb.Instance {
	for {
		changes := state.NewWatchSet()
		tx := s.cfg.Reader.Local().Watch(changes)
		if row, err := choose(tx, open, tried); err == nil && !tried[row] {
			return row
		}
		if changes.Wait(ctx) != nil {
			return nil
		}
	}
}

// choose returns the instance that was named, or of those of the app's newest
// deployment that have not been tried the one attached last.
func choose(tx *state.Tx, open *execpb.Open, tried map[*deploymentpb.Instance]bool) (*deploymentpb.Instance, error) {
	if id := open.GetInstanceId(); id != "" {
		row := tx.Instance(id)
		switch {
		case row == nil:
			return nil, errs.New(errs.NotFound, "exec: there is no instance %s", id)
		case row.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_EXITED:
			return nil, errs.New(errs.Conflict, "exec: instance %s has ended with exit code %d", id, row.GetExitCode())
		}
		return row, nil
	}
	app := open.GetApp()
	deployments := tx.Deployments(app, false, 1)
	if len(deployments) == 0 {
		return nil, errs.New(errs.NotFound, "exec: %s/%s has no deployment: deploy it first", app.GetProject(), app.GetApp())
	}
	newest := deployments[0]
	if !newest.GetEntrypoint() {
		return nil, errs.New(errs.Conflict, "exec: %s v%d runs without the entrypoint, which exec needs", app.GetApp(), newest.GetSequence())
	}
	var chosen *deploymentpb.Instance
	for _, row := range tx.Instances(app, newest.GetId(), false) {
		attached := row.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED
		if attached && !tried[row] && (chosen == nil || row.GetAttachedAt().AsTime().After(chosen.GetAttachedAt().AsTime())) {
			chosen = row
		}
	}
	if chosen == nil {
		return nil, errs.New(errs.Unavailable, "exec: no instance of %s v%d is attached now", app.GetApp(), newest.GetSequence())
	}
	return chosen, nil
}

// home returns the node that the instance is attached to: this one, if it has
// come here and that could not be recorded yet, else what the row says.
func (s *Service) home(row *deploymentpb.Instance) string {
	if here := s.cfg.Local.Row(row.GetId()); here.GetGeneration() > row.GetGeneration() {
		return s.cfg.NodeID
	}
	return row.GetNodeId()
}

// carry runs the session at the instance's home, which is to answer in time.
func (s *Service) carry(ctx context.Context, nodeID string, open *execpb.Open, side *front, within time.Duration) error {
	if nodeID == s.cfg.NodeID {
		return s.cfg.Local.Exec(ctx, open, side)
	}
	conn, err := s.cfg.Peer(nodeID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(within, func() {
		cancel(errs.New(errs.Unavailable, "exec: the instance's home node has not answered within %s", within))
	})
	defer silent.Stop()
	stream, err := nodepb.NewNodeServiceClient(conn).Exec(ctx)
	if err != nil {
		return errs.FromStatus(err)
	}
	if err := stream.Send(&execpb.Input{Kind: &execpb.Input_Open{Open: open}}); err != nil && !errors.Is(err, io.EOF) {
		return errs.FromStatus(err)
	}
	// Input waits until the instance has answered, so that another home can be
	// tried if this one says that the instance has not heard of the session.
	out, err := stream.Recv()
	if err != nil {
		return unanswered(open, err, lost(ctx, err))
	}
	silent.Stop()
	side.begin()
	var inputs sync.WaitGroup
	defer inputs.Wait()
	defer cancel(nil)
	inputs.Go(func() { sendInputs(ctx, stream, side) })
	for {
		if err := side.Send(out); err != nil {
			return err
		}
		if out, err = stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return lost(ctx, err)
		}
	}
}

// unanswered is the error of a session whose order was sent to another node and
// was not answered. Only what that node itself says is certain.
func unanswered(open *execpb.Open, err, cause error) error {
	if open.GetResume() != nil || answers(err) {
		return cause
	}
	return errs.New(errs.OutcomeUnknown, "exec: the command may or may not have been started, look before you run it again: %w", cause)
}

// answers tells whether an error is the word of the node that was called, not
// of the connection to it.
func answers(err error) bool {
	s, ok := status.FromError(err)
	return ok && slices.ContainsFunc(s.Details(), func(d any) bool {
		_, ok := d.(interface{ GetKind() errs.Kind })
		return ok
	})
}

func lost(ctx context.Context, err error) error {
	if errs.Is(context.Cause(ctx), errs.Unavailable) {
		return context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) {
		return errs.New(errs.Unavailable, "exec: the instance's home node ended the session without a word")
	}
	return errs.FromStatus(err)
}

// sendInputs passes input on until the session has ended. Of a caller that left
// the home node hears by the end of the stream.
func sendInputs(ctx context.Context, stream nodepb.NodeService_ExecClient, side *front) {
	for {
		in, err := side.recv(ctx)
		if errors.Is(err, io.EOF) {
			_ = stream.CloseSend()
		}
		if err != nil {
			return
		}
		if stream.Send(in) != nil {
			return
		}
	}
}
