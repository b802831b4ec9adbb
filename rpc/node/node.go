// Package node serves the other nodes of the cluster: commands and read indexes
// for the leader, renewals of leases, and the log lines, exec sessions and job
// output of what is attached here. It forwards nothing.
package node

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/session"
)

// Cluster is what the leader does for the others. On a follower ApplyBatch and
// ReadIndex fail with KIND_UNAVAILABLE and have changed nothing.
type Cluster interface {
	ApplyBatch(ctx context.Context, commands []*commandpb.Command) ([]*commandpb.Result, error)
	ReadIndex(ctx context.Context) (epoch string, index uint64, err error)
	// ConfirmTerm returns the current term of this node.
	ConfirmTerm() uint64
	// Clock returns the time by this node's own clock.
	Clock() time.Time
	// RemoveAsLeader ends a membership; the index is that of the command. On a
	// follower, and on a leader that was to remove itself and has handed over, it
	// fails with KIND_UNAVAILABLE.
	RemoveAsLeader(ctx context.Context, req *nodepb.RemoveNodeRequest) (index uint64, err error)
}

// Leases are the leader's: a renewal that it does not grant means that the
// attempt is over. Anything but one answer per renewal means that this node is
// not the leader.
type Leases interface {
	Renew(ctx context.Context, renewals []*nodepb.Renewal) []bool
}

// Instances are those attached to this node.
type Instances interface {
	Logs(ctx context.Context, req *nodepb.LogsRequest, send func(*nodepb.LogsResponse) error) error
	Exec(ctx context.Context, open *execpb.Open, side session.ExecSide) error
}

var _ Instances = (*session.Instances)(nil)

// Outputs is the output of jobs whose runners are attached to this node.
type Outputs interface {
	JobOutput(ctx context.Context, fence *deploymentpb.Fence, offset uint64, send func(*nodepb.JobOutputResponse) error) error
}

// Config is what the service needs.
type Config struct {
	Cluster   Cluster
	Leases    Leases
	Instances Instances
	Outputs   Outputs
}

// Service answers for package waypoint.node.
type Service struct {
	nodepb.UnimplementedNodeServiceServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { nodepb.RegisterNodeServiceServer(r, s) }

// Apply applies commands of another node as the leader.
func (s *Service) Apply(ctx context.Context, req *nodepb.ApplyRequest) (*nodepb.ApplyResponse, error) {
	results, err := s.cfg.Cluster.ApplyBatch(ctx, req.GetCommands())
	if err != nil {
		return nil, err
	}
	return &nodepb.ApplyResponse{Results: results}, nil
}

// ReadIndex answers as the leader with the index that a current read needs.
func (s *Service) ReadIndex(ctx context.Context, _ *nodepb.ReadIndexRequest) (*nodepb.ReadIndexResponse, error) {
	epoch, index, err := s.cfg.Cluster.ReadIndex(ctx)
	if err != nil {
		return nil, err
	}
	return &nodepb.ReadIndexResponse{Epoch: epoch, Index: index}, nil
}

// Confirm answers with this node's term and clock; the asking leader compares.
func (s *Service) Confirm(context.Context, *nodepb.ConfirmRequest) (*nodepb.ConfirmResponse, error) {
	return &nodepb.ConfirmResponse{Term: s.cfg.Cluster.ConfirmTerm(), Time: s.cfg.Cluster.Clock().UnixNano()}, nil
}

// RemoveNode removes a node as the leader.
func (s *Service) RemoveNode(ctx context.Context, req *nodepb.RemoveNodeRequest) (*nodepb.RemoveNodeResponse, error) {
	index, err := s.cfg.Cluster.RemoveAsLeader(ctx, req)
	if err != nil {
		return nil, err
	}
	return &nodepb.RemoveNodeResponse{Index: index}, nil
}

// RenewLeases renews leases as the leader.
func (s *Service) RenewLeases(ctx context.Context, req *nodepb.RenewLeasesRequest) (*nodepb.RenewLeasesResponse, error) {
	granted := s.cfg.Leases.Renew(ctx, req.GetRenewals())
	if len(granted) != len(req.GetRenewals()) {
		return nil, errs.New(errs.Unavailable, "renew leases: this node is not the leader")
	}
	return &nodepb.RenewLeasesResponse{Granted: granted}, nil
}

// Logs streams the lines of an instance whose home this node is or was.
func (s *Service) Logs(req *nodepb.LogsRequest, stream nodepb.NodeService_LogsServer) error {
	return s.cfg.Instances.Logs(stream.Context(), req, stream.Send)
}

// Exec runs a session in an instance that is attached here. The first message is
// open and names the instance.
func (s *Service) Exec(stream nodepb.NodeService_ExecServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetOpen() == nil {
		return errs.New(errs.Invalid, "exec: the first message is not open")
	}
	return s.cfg.Instances.Exec(stream.Context(), first.GetOpen(), stream)
}

// JobOutput streams the output of a job's attempt whose runner is attached here.
func (s *Service) JobOutput(req *nodepb.JobOutputRequest, stream nodepb.NodeService_JobOutputServer) error {
	return s.cfg.Outputs.JobOutput(stream.Context(), req.GetFence(), req.GetOffset(), stream.Send)
}
