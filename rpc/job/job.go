// Package job serves jobs: it queues them, lists them, cancels them and lets
// callers follow one with its output, wherever its runner is attached. It does not
// decide who runs a job, and knows nothing of what jobs do.
package job

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/rpc/call"
	"waypoint/rpc/names"
	"waypoint/rpc/read"
	"waypoint/session"
	"waypoint/state"
)

// Outputs is the output of attempts whose runners are attached to this node.
type Outputs interface {
	// JobOutput sends output from an offset on. Without an error the last
	// message says that the attempt is over.
	JobOutput(ctx context.Context, fence *deploymentpb.Fence, offset uint64, send func(*nodepb.JobOutputResponse) error) error
}

var _ Outputs = (*session.Runners)(nil)

// Config is what the service needs.
type Config struct {
	Applier call.Applier
	Reader  *read.Reader
	Store   *state.Store
	NodeID  string
	Outputs Outputs
	// Peer returns a connection to another node.
	Peer func(nodeID string) (grpc.ClientConnInterface, error)
	// Waiting says for people why a queued job waits.
	Waiting   func(tx *state.Tx, job *jobpb.Job) string
	Logger    hclog.Logger
	Heartbeat time.Duration // between signs of life of a watch; 15 s
}

// Service answers for package waypoint.job.
type Service struct {
	jobpb.UnimplementedJobServiceServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 15 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return &Service{cfg: cfg}
}

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { jobpb.RegisterJobServiceServer(r, s) }

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// Submit queues a job. The caller may choose its id; then the same id and spec
// again is the same job.
func (s *Service) Submit(ctx context.Context, req *jobpb.SubmitRequest) (*jobpb.SubmitResponse, error) {
	spec, err := checkSpec(ctx, req.GetSpec())
	if err != nil {
		return nil, err
	}
	id := req.GetId()
	if id == "" {
		id = call.ID(ctx, 0)
	}
	if err := checkID(id); err != nil {
		return nil, err
	}
	job, err := s.write(ctx, id, &commandpb.Command_JobSubmit{JobSubmit: &commandpb.JobSubmit{Id: id, Spec: spec}})
	if err != nil {
		return nil, err
	}
	return &jobpb.SubmitResponse{Job: job}, nil
}

// Cancel ends a queued job and asks for the end of a running one.
func (s *Service) Cancel(ctx context.Context, req *jobpb.CancelRequest) (*jobpb.CancelResponse, error) {
	job, err := s.write(ctx, req.GetId(), &commandpb.Command_JobCancel{JobCancel: &commandpb.JobCancel{Id: req.GetId()}})
	if err != nil {
		return nil, err
	}
	return &jobpb.CancelResponse{Job: job}, nil
}

// write applies a command about one job and returns the job as it then is.
func (s *Service) write(ctx context.Context, id string, kind commandpb.Kind) (*jobpb.Job, error) {
	result, err := call.Apply(ctx, s.cfg.Applier, 0, kind)
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.At(ctx, result.GetIndex())
	if err != nil {
		return nil, err
	}
	job := tx.Job(id)
	if job == nil {
		return nil, errs.New(errs.NotFound, "job %s has been pruned meanwhile", id)
	}
	return s.explained(tx, job), nil
}

// Get returns a job.
func (s *Service) Get(ctx context.Context, req *jobpb.GetRequest) (*jobpb.GetResponse, error) {
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	job := tx.Job(req.GetId())
	if job == nil {
		return nil, noJob(req.GetId())
	}
	return &jobpb.GetResponse{Job: s.explained(tx, job)}, nil
}

func noJob(id string) error {
	return errs.New(errs.NotFound, "job %q does not exist: see \"waypoint job list\"", names.Short(id))
}

// List returns jobs, newest first.
func (s *Service) List(ctx context.Context, req *jobpb.ListRequest) (*jobpb.ListResponse, error) {
	ref, err := names.Filter(&deploymentpb.AppRef{Project: req.GetProject(), App: req.GetApp(), Workspace: req.GetWorkspace()})
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	limit := int(min(req.GetLimit(), maxLimit))
	if limit == 0 {
		limit = defaultLimit
	}
	jobs := tx.Jobs(state.JobFilter{
		Project: ref.GetProject(), App: ref.GetApp(), Workspace: ref.GetWorkspace(), States: req.GetStates(), Limit: limit,
	})
	answer := &jobpb.ListResponse{Jobs: make([]*jobpb.Job, 0, len(jobs))}
	for _, job := range jobs {
		answer.Jobs = append(answer.Jobs, s.explained(tx, job))
	}
	return answer, nil
}

// explained returns the job with a word about what it waits for. Jobs of the
// state are shared and stay as they are.
func (s *Service) explained(tx *state.Tx, job *jobpb.Job) *jobpb.Job {
	waiting := s.cfg.Waiting(tx, job)
	if waiting == "" {
		return job
	}
	job = proto.CloneOf(job)
	job.Waiting = waiting
	return job
}
