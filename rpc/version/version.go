// Package version serves the one method that answers whatever its caller
// speaks: what this node is and which protocol versions it understands. Of who
// asks it knows only whether it may learn where the other nodes are.
package version

import (
	"context"

	"google.golang.org/grpc"

	"waypoint/api/versionpb"
	"waypoint/rpc/call"
	"waypoint/rpc/read"
	"waypoint/version"
)

// Config is what the service needs.
type Config struct {
	Reader  *read.Reader
	NodeID  string
	Servers func() []string // addresses of all members
}

// Service answers for package waypoint.version.
type Service struct {
	versionpb.UnimplementedVersionServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { versionpb.RegisterVersionServer(r, s) }

// Get tells what this node is. It reads local state only.
func (s *Service) Get(ctx context.Context, _ *versionpb.GetRequest) (*versionpb.GetResponse, error) {
	reply := &versionpb.GetResponse{
		Build:     version.Build(),
		ClusterId: s.cfg.Reader.Local().Meta().ClusterID,
		NodeId:    s.cfg.NodeID,
	}
	if call.From(ctx).Introduced {
		reply.Servers = s.cfg.Servers()
	}
	return reply, nil
}
