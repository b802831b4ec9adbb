// Package logs serves log lines to users: it asks the state which instances
// match and which node is the home of each, reads every one there, and merges
// them by time. It follows instances that join, and those that move from node to
// node. It holds no lines beyond what the merge needs: a reader that is too slow
// gets gaps.
package logs

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"waypoint/api/deploymentpb"
	"waypoint/api/logspb"
	"waypoint/api/nodepb"
	"waypoint/api/projectpb"
	"waypoint/errs"
	"waypoint/internal/task"
	"waypoint/rpc/names"
	"waypoint/rpc/read"
	"waypoint/state"
)

// Local reads the lines of instances whose home is this node.
type Local interface {
	Logs(ctx context.Context, req *nodepb.LogsRequest, send func(*nodepb.LogsResponse) error) error
	// Row returns the row of an instance that is attached to this node, as it
	// is to be once there is a quorum to record it; nil if it is elsewhere.
	Row(instanceID string) *deploymentpb.Instance
}

// Config is what the service needs. Zero durations stand for the defaults.
type Config struct {
	Reader *read.Reader
	NodeID string
	Local  Local
	// Peer returns a connection to another node.
	Peer   func(nodeID string) (grpc.ClientConnInterface, error)
	Logger hclog.Logger

	Hold      time.Duration // how long lines are held back to be merged; 200 ms
	Heartbeat time.Duration // between signs of life; 15 s
}

// Service answers for package waypoint.logs.
type Service struct {
	logspb.UnimplementedLogsServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service {
	if cfg.Hold == 0 {
		cfg.Hold = 200 * time.Millisecond
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 15 * time.Second
	}
	return &Service{cfg: cfg}
}

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { logspb.RegisterLogsServer(r, s) }

// freshWait bounds how long a call waits to learn the newest state. Without a
// quorum it then reads by what this node knows.
const freshWait = 2 * time.Second

// Stream sends the lines of the instances that match, and with follow goes on
// until the caller leaves, or nothing that matches can come any more.
func (s *Service) Stream(req *logspb.StreamRequest, stream logspb.Logs_StreamServer) error {
	if err := check(req); err != nil {
		return err
	}
	tx, notice, err := s.view(stream.Context())
	if err != nil {
		return err
	}
	if err := exists(tx, req); err != nil {
		return err
	}
	group := task.NewGroup(stream.Context())
	events := make(chan event, 16)
	out := newOutput(s.cfg, req.GetFollow(), stream, events)
	if notice != "" {
		out.notice(notice)
	}
	group.Go("", func(ctx context.Context) error {
		err := newFollower(s.cfg, req, events).run(ctx)
		if err != nil {
			return err
		}
		return emit(ctx, events, event{end: true})
	})
	group.Go("", func(ctx context.Context) error {
		defer group.Stop()
		return out.run(ctx)
	})
	return group.Wait()
}

func check(req *logspb.StreamRequest) error {
	app := req.GetApp()
	if app.GetProject() == "" && req.GetDeploymentId() == "" && req.GetInstanceId() == "" {
		return errs.New(errs.Invalid, "logs: name a project and app, a deployment or an instance")
	}
	return errors.Join(
		names.Optional("project", app.GetProject()),
		names.Optional("app", app.GetApp()),
		names.Optional("workspace", app.GetWorkspace()),
	)
}

// view returns the newest state, or without a quorum what this node knows, with
// a word about it.
func (s *Service) view(ctx context.Context) (*state.Tx, string, error) {
	bounded, cancel := context.WithTimeout(ctx, freshWait)
	defer cancel()
	tx, err := s.cfg.Reader.Tx(bounded)
	switch {
	case err == nil:
		return tx, "", nil
	case ctx.Err() != nil:
		return nil, "", context.Cause(ctx)
	case errs.Is(err, errs.Unavailable), errs.Is(err, errs.Deadline):
		s.cfg.Logger.Debug("logs without a current state", "error", err)
		return s.cfg.Reader.Local(), "the cluster has no leader now: showing the instances that this node knows of", nil
	}
	return nil, "", err
}

// exists refuses to wait for lines of what is not there.
func exists(tx *state.Tx, req *logspb.StreamRequest) error {
	app := req.GetApp()
	if id := req.GetInstanceId(); id != "" && tx.Instance(id) == nil {
		return errs.New(errs.NotFound, "logs: there is no instance %s", id)
	}
	if id := req.GetDeploymentId(); id != "" && tx.Deployment(id) == nil {
		return errs.New(errs.NotFound, "logs: there is no deployment %s", id)
	}
	if app.GetProject() == "" {
		return nil
	}
	project := tx.Project(app.GetProject())
	if project == nil {
		return errs.New(errs.NotFound, "logs: there is no project %q", app.GetProject())
	}
	named := func(a *projectpb.App) bool { return a.GetName() == app.GetApp() }
	if app.GetApp() != "" && !slices.ContainsFunc(project.GetApps(), named) {
		return errs.New(errs.NotFound, "logs: project %q has no app %q", app.GetProject(), app.GetApp())
	}
	return nil
}

// matching lists the instances whose lines were asked for: by name, or those of
// deployments that have not been destroyed.
func matching(tx *state.Tx, req *logspb.StreamRequest) []*deploymentpb.Instance {
	if id := req.GetInstanceId(); id != "" {
		if row := tx.Instance(id); row != nil {
			return []*deploymentpb.Instance{row}
		}
		return nil
	}
	list := tx.Instances(req.GetApp(), req.GetDeploymentId(), true)
	if req.GetDeploymentId() != "" {
		return list
	}
	live := map[string]bool{}
	for _, d := range tx.Deployments(req.GetApp(), false, 0) {
		live[d.GetId()] = true
	}
	return slices.DeleteFunc(list, func(row *deploymentpb.Instance) bool { return !live[row.GetDeploymentId()] })
}
