// Package deployment serves the records that operations leave: builds,
// artifacts, deployments, releases and instances. It checks requests, derives ids
// and builds one command per call. What a record becomes is decided by the
// state machine; it knows no platform and starts nothing.
package deployment

import (
	"context"

	"google.golang.org/grpc"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/rpc/call"
	"waypoint/rpc/read"
	"waypoint/state"
)

// Config is what the service needs.
type Config struct {
	Reader  *read.Reader
	Applier call.Applier
	// TokenKey returns the key that tokens are signed with.
	TokenKey func() ([]byte, error)
	// Servers returns the addresses that entrypoints may use, at least one.
	Servers func() []string
	// CA is the fingerprint of the cluster's CA, "sha256:<hex>".
	CA string
}

// Service answers for package waypoint.deployment.
type Service struct {
	deploymentpb.UnimplementedDeploymentServiceServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	deploymentpb.RegisterDeploymentServiceServer(r, s)
}

// write applies the call's command and returns a view that contains it.
func (c *Config) write(ctx context.Context, kind commandpb.Kind) (*state.Tx, error) {
	result, err := call.Apply(ctx, c.Applier, 0, kind)
	if err != nil {
		return nil, err
	}
	return c.Reader.At(ctx, result.GetIndex())
}

// gone is for a record that was written and has been removed since, which
// happens only to a call that is repeated late.
func gone(what, id string) error {
	return errs.New(errs.NotFound, "%s %s was recorded and has been removed since: its project may have been destroyed", what, id)
}
