// Package project serves projects, their apps and the workspaces that are used
// with them. Whether a project may be destroyed is decided by the state machine.
package project

import (
	"context"
	"slices"

	"google.golang.org/grpc"

	"waypoint/api/commandpb"
	"waypoint/api/projectpb"
	"waypoint/errs"
	"waypoint/rpc/call"
	"waypoint/rpc/names"
	"waypoint/rpc/read"
)

// maxApps bounds the apps that one call adds.
const maxApps = 256

// Config is what the service needs.
type Config struct {
	Reader  *read.Reader
	Applier call.Applier
}

// Service answers for package waypoint.project.
type Service struct {
	projectpb.UnimplementedProjectServiceServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { projectpb.RegisterProjectServiceServer(r, s) }

// ApplyProject makes a project, or adds apps to it.
func (s *Service) ApplyProject(ctx context.Context, req *projectpb.ApplyProjectRequest) (*projectpb.ApplyProjectResponse, error) {
	if err := names.Check("project", req.GetName()); err != nil {
		return nil, err
	}
	if len(req.GetApps()) > maxApps {
		return nil, errs.New(errs.Exhausted, "project %s: %d apps at a time are too many: add at most %d with one call", req.GetName(), len(req.GetApps()), maxApps)
	}
	for _, app := range req.GetApps() {
		if err := names.Check("app", app); err != nil {
			return nil, err
		}
	}
	apps := slices.Compact(slices.Sorted(slices.Values(req.GetApps())))
	result, err := call.Apply(ctx, s.cfg.Applier, 0, &commandpb.Command_ProjectApply{
		ProjectApply: &commandpb.ProjectApply{Name: req.GetName(), Apps: apps},
	})
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.At(ctx, result.GetIndex())
	if err != nil {
		return nil, err
	}
	project := tx.Project(req.GetName())
	if project == nil {
		return nil, missing(req.GetName())
	}
	return &projectpb.ApplyProjectResponse{Project: project}, nil
}

// GetProject returns one project.
func (s *Service) GetProject(ctx context.Context, req *projectpb.GetProjectRequest) (*projectpb.GetProjectResponse, error) {
	if err := names.Check("project", req.GetName()); err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	project := tx.Project(req.GetName())
	if project == nil {
		return nil, missing(req.GetName())
	}
	return &projectpb.GetProjectResponse{Project: project}, nil
}

func missing(name string) error {
	return errs.New(errs.NotFound, "project %s does not exist: see \"waypoint project list\", or make it with \"waypoint project apply\"", name)
}

// ListProjects returns all projects, sorted by name.
func (s *Service) ListProjects(ctx context.Context, _ *projectpb.ListProjectsRequest) (*projectpb.ListProjectsResponse, error) {
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	return &projectpb.ListProjectsResponse{Projects: tx.Projects()}, nil
}

// DestroyProject forgets a project.
func (s *Service) DestroyProject(ctx context.Context, req *projectpb.DestroyProjectRequest) (*projectpb.DestroyProjectResponse, error) {
	if err := names.Check("project", req.GetName()); err != nil {
		return nil, err
	}
	_, err := call.Apply(ctx, s.cfg.Applier, 0, &commandpb.Command_ProjectDestroy{
		ProjectDestroy: &commandpb.ProjectDestroy{Name: req.GetName()},
	})
	if err != nil {
		return nil, err
	}
	return &projectpb.DestroyProjectResponse{}, nil
}

// ListWorkspaces returns the workspaces of a project or of all, sorted by name.
func (s *Service) ListWorkspaces(ctx context.Context, req *projectpb.ListWorkspacesRequest) (*projectpb.ListWorkspacesResponse, error) {
	if err := names.Optional("project", req.GetProject()); err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	if req.GetProject() != "" && tx.Project(req.GetProject()) == nil {
		return nil, missing(req.GetProject())
	}
	return &projectpb.ListWorkspacesResponse{Workspaces: tx.Workspaces(req.GetProject())}, nil
}
