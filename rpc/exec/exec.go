// Package exec serves users who run a command inside an instance: it finds the
// instance and its home node, and carries the session there, unchanged. It keeps
// nothing of what passes through.
package exec

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/internal/ids"
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
}

var _ Local = (*session.Instances)(nil)

// Config is what the service needs.
type Config struct {
	Reader *read.Reader
	NodeID string
	Local  Local
	// Peer returns a connection to another node.
	Peer func(nodeID string) (grpc.ClientConnInterface, error)
}

// Service answers for package waypoint.exec.
type Service struct {
	execpb.UnimplementedExecServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

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
)

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
	}
	if open.GetSessionId() == "" {
		open.SessionId = ids.New()
	}
	side := newFront(stream)
	return s.start(stream.Context(), open, side)
}

// start finds the instance and carries the session to its home. While that
// cannot be reached and nothing of the session has passed, it waits a moment for
// the instance to attach elsewhere.
func (s *Service) start(ctx context.Context, open *execpb.Open, side *front) error {
	tx, err := s.view(ctx)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, moveWait)
	defer cancel()
	tried := map[*deploymentpb.Instance]bool{}
	row, err := choose(tx, open, tried)
	if err != nil {
		return err
	}
	for {
		named := &execpb.Open{
			SessionId: open.GetSessionId(), App: row.GetApp(), InstanceId: row.GetId(), Argv: open.GetArgv(),
			Tty: open.GetTty(), Size: open.GetSize(), Term: open.GetTerm(), Stdin: open.GetStdin(),
		}
		failed := s.carry(ctx, s.home(row), named, side)
		if failed == nil || ctx.Err() != nil || side.begun() || !errs.Is(failed, errs.Unavailable) {
			return failed
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

// carry runs the session at the instance's home.
func (s *Service) carry(ctx context.Context, nodeID string, open *execpb.Open, side *front) error {
	if nodeID == s.cfg.NodeID {
		return s.cfg.Local.Exec(ctx, open, side)
	}
	conn, err := s.cfg.Peer(nodeID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(answerWait, func() {
		cancel(errs.New(errs.Unavailable, "exec: the instance's home node has not answered within %s", answerWait))
	})
	stream, err := nodepb.NewNodeServiceClient(conn).Exec(ctx)
	if err != nil {
		return errs.FromStatus(err)
	}
	if err := stream.Send(&execpb.Input{Kind: &execpb.Input_Open{Open: open}}); err != nil && !errors.Is(err, io.EOF) {
		return errs.FromStatus(err)
	}
	// Input waits until the instance has answered, so that another home can be
	// tried until then.
	out, err := stream.Recv()
	if err != nil {
		return lost(ctx, err)
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
