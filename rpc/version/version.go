// Package version serves the one method that answers whatever its caller
// speaks: what this node is and which protocol versions it understands. It must
// not know who asks.
package version

import (
	"context"

	"google.golang.org/grpc"

	"waypoint/api/versionpb"
	"waypoint/rpc/read"
	"waypoint/version"
)

// Config is what the service needs.
type Config struct {
	Reader *read.Reader
	NodeID string
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
func (s *Service) Get(context.Context, *versionpb.GetRequest) (*versionpb.GetResponse, error) {
	return &versionpb.GetResponse{
		Build:     version.Build(),
		ClusterId: s.cfg.Reader.Local().Meta().ClusterID,
		NodeId:    s.cfg.NodeID,
	}, nil
}
