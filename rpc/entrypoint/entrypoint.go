// Package entrypoint serves the streams of entrypoints. It acts on the
// deployment that the caller's token is for, never on one that a message names.
// What the streams carry is the business of the sessions it hands them to.
package entrypoint

import (
	"context"

	"google.golang.org/grpc"

	"waypoint/api/entrypointpb"
	"waypoint/rpc/call"
	"waypoint/session"
)

// Sessions take the streams.
type Sessions interface {
	// Attach serves an attach stream, which end is to end.
	Attach(ctx context.Context, end context.CancelCauseFunc, stream session.AttachStream, deploymentID string) error
	// ServeExec serves the instance's side of an exec session.
	ServeExec(ctx context.Context, stream session.ExecStream, deploymentID string) error
}

var _ Sessions = (*session.Instances)(nil)

// Service answers for package waypoint.entrypoint.
type Service struct {
	entrypointpb.UnimplementedEntrypointServer
	sessions Sessions
}

// New returns the service.
func New(sessions Sessions) *Service { return &Service{sessions: sessions} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { entrypointpb.RegisterEntrypointServer(r, s) }

// Attach serves the stream on which an instance is attached to this node.
func (s *Service) Attach(stream entrypointpb.Entrypoint_AttachServer) error {
	info := call.From(stream.Context())
	return s.sessions.Attach(stream.Context(), info.End, stream, info.Subject)
}

// Exec serves one exec session that this node has asked the instance for.
func (s *Service) Exec(stream entrypointpb.Entrypoint_ExecServer) error {
	return s.sessions.ServeExec(stream.Context(), stream, call.From(stream.Context()).Subject)
}
