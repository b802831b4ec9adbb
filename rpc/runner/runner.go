// Package runner serves runners: their sessions with this node, and the list of
// them. What a session carries is the business of the sessions it is handed to.
package runner

import (
	"context"

	"google.golang.org/grpc"

	"waypoint/api/policypb"
	"waypoint/api/runnerpb"
	"waypoint/rpc/call"
	"waypoint/rpc/read"
	"waypoint/session"
)

// Sessions take the streams.
type Sessions interface {
	// Session serves a stream and returns when it is to end.
	Session(ctx context.Context, stream session.RunnerStream, caller session.RunnerCaller) error
}

var _ Sessions = (*session.Runners)(nil)

// Config is what the service needs.
type Config struct {
	Reader   *read.Reader
	Sessions Sessions
}

// Service answers for package waypoint.runner.
type Service struct {
	runnerpb.UnimplementedRunnerServiceServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { runnerpb.RegisterRunnerServiceServer(r, s) }

// List returns the runners that are attached, or all that are remembered.
func (s *Service) List(ctx context.Context, req *runnerpb.ListRequest) (*runnerpb.ListResponse, error) {
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	answer := &runnerpb.ListResponse{}
	for _, runner := range tx.Runners() {
		if req.GetAll() || runner.GetState() == runnerpb.State_STATE_ATTACHED {
			answer.Runners = append(answer.Runners, runner)
		}
	}
	return answer, nil
}

// Session attaches a runner to this node.
func (s *Service) Session(stream runnerpb.RunnerService_SessionServer) error {
	info := call.From(stream.Context())
	return s.cfg.Sessions.Session(stream.Context(), stream, session.RunnerCaller{
		TokenID: info.TokenID,
		User:    info.Caller == policypb.Caller_CALLER_USER,
	})
}
