package deployment

import (
	"context"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/internal/token"
	"waypoint/rpc/call"
	"waypoint/rpc/names"
)

// CreateDeployment records that a deployment has begun. If its instances run
// under the entrypoint, it makes the token that they attach with; a retry with
// the same request id gives the same text again.
func (s *Service) CreateDeployment(ctx context.Context, req *deploymentpb.CreateDeploymentRequest) (*deploymentpb.CreateDeploymentResponse, error) {
	deployment, err := newDeployment(ctx, req)
	if err != nil {
		return nil, err
	}
	key, err := s.cfg.TokenKey()
	if err != nil {
		return nil, errs.New(errs.Unavailable, "create a deployment: this node cannot sign its token: call another node: %w", err)
	}
	row := entrypointToken(ctx, deployment)
	tx, err := s.cfg.write(ctx, &commandpb.Command_DeploymentCreate{DeploymentCreate: &commandpb.DeploymentCreate{
		Deployment: deployment, Token: row,
	}})
	if err != nil {
		return nil, err
	}
	made := tx.Deployment(deployment.GetId())
	if made == nil {
		return nil, gone("deployment", deployment.GetId())
	}
	answer := &deploymentpb.CreateDeploymentResponse{
		Deployment:  made,
		ServerAddrs: s.cfg.Servers(),
		ServerCa:    s.cfg.CA,
	}
	if row != nil {
		answer.EntrypointToken = token.Sign(key, &authpb.SignedToken{
			ClusterId: tx.Meta().ClusterID, Id: row.GetId(), Kind: row.GetKind(), Subject: row.GetSubject(),
		})
	}
	return answer, nil
}

// newDeployment checks a request and returns the record it asks for.
func newDeployment(ctx context.Context, req *deploymentpb.CreateDeploymentRequest) (*deploymentpb.Deployment, error) {
	ref, err := checkCreate(ctx, req.GetApp(), req.GetFence(), req.GetPlugin())
	if err != nil {
		return nil, err
	}
	if req.GetArtifactId() == "" {
		return nil, errs.New(errs.Invalid, "the deployment of %s names no artifact: build the app first", refText(ref))
	}
	if err := checkHost(req.GetHost()); err != nil {
		return nil, err
	}
	if req.GetInstances() > maxInstances {
		return nil, errs.New(errs.Exhausted, "%d instances of %s are too many for one deployment: ask for at most %d", req.GetInstances(), refText(ref), maxInstances)
	}
	deployment := &deploymentpb.Deployment{
		Id:         call.ID(ctx, 0),
		App:        ref,
		Fence:      req.GetFence(),
		ArtifactId: req.GetArtifactId(),
		Plugin:     req.GetPlugin(),
		Host:       req.GetHost(),
		Instances:  req.GetInstances(),
		Entrypoint: req.GetEntrypoint(),
	}
	if req.GetEntrypoint() {
		deployment.TokenId = call.ID(ctx, 1)
	}
	return deployment, nil
}

// entrypointToken returns the record of a deployment's token, nil if its
// instances have no entrypoint. It does not expire: it is revoked when the
// deployment is destroyed.
func entrypointToken(ctx context.Context, deployment *deploymentpb.Deployment) *authpb.Token {
	if !deployment.GetEntrypoint() {
		return nil
	}
	return &authpb.Token{
		Id:          deployment.GetTokenId(),
		Kind:        authpb.TokenKind_TOKEN_KIND_ENTRYPOINT,
		Subject:     deployment.GetId(),
		Description: "entrypoints of " + refText(deployment.GetApp()),
		CreatedBy:   call.From(ctx).TokenID,
	}
}

// FinishDeployment records whether the platform started the deployment.
func (s *Service) FinishDeployment(ctx context.Context, req *deploymentpb.FinishDeploymentRequest) (*deploymentpb.FinishDeploymentResponse, error) {
	if err := checkFinish(ctx, "deployment", req.GetId(), req.GetFence()); err != nil {
		return nil, err
	}
	if err := checkData("deployment", req.GetData()); err != nil {
		return nil, err
	}
	if err := names.Text("the deployment's URL", req.GetUrl(), maxURL); err != nil {
		return nil, err
	}
	tx, err := s.cfg.write(ctx, &commandpb.Command_DeploymentFinish{DeploymentFinish: &commandpb.DeploymentFinish{
		Id: req.GetId(), Fence: req.GetFence(), Error: names.Truncate(req.GetError(), maxError),
		Data: req.GetData(), Url: req.GetUrl(),
	}})
	if err != nil {
		return nil, err
	}
	deployment := tx.Deployment(req.GetId())
	if deployment == nil {
		return nil, gone("deployment", req.GetId())
	}
	return &deploymentpb.FinishDeploymentResponse{Deployment: deployment}, nil
}

// DestroyDeployment records that the platform has destroyed a deployment.
func (s *Service) DestroyDeployment(ctx context.Context, req *deploymentpb.DestroyDeploymentRequest) (*deploymentpb.DestroyDeploymentResponse, error) {
	if err := checkFinish(ctx, "deployment", req.GetId(), req.GetFence()); err != nil {
		return nil, err
	}
	tx, err := s.cfg.write(ctx, &commandpb.Command_DeploymentDestroy{DeploymentDestroy: &commandpb.DeploymentDestroy{
		Id: req.GetId(), Fence: req.GetFence(),
	}})
	if err != nil {
		return nil, err
	}
	deployment := tx.Deployment(req.GetId())
	if deployment == nil {
		return nil, gone("deployment", req.GetId())
	}
	return &deploymentpb.DestroyDeploymentResponse{Deployment: deployment}, nil
}

// GetDeployment returns a deployment with what it runs and the instances that
// have not exited.
func (s *Service) GetDeployment(ctx context.Context, req *deploymentpb.GetDeploymentRequest) (*deploymentpb.GetDeploymentResponse, error) {
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	deployment := tx.Deployment(req.GetId())
	if deployment == nil {
		return nil, noDeployment(req.GetId())
	}
	return &deploymentpb.GetDeploymentResponse{
		Deployment: deployment,
		Artifact:   tx.Artifact(deployment.GetArtifactId()),
		Instances:  tx.Instances(deployment.GetApp(), deployment.GetId(), false),
	}, nil
}

func noDeployment(id string) error {
	return errs.New(errs.NotFound, "deployment %q does not exist: see \"waypoint deployment list\"", names.Short(id))
}

// ListDeployments returns deployments, newest first.
func (s *Service) ListDeployments(ctx context.Context, req *deploymentpb.ListDeploymentsRequest) (*deploymentpb.ListDeploymentsResponse, error) {
	ref, err := names.Filter(req.GetApp())
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	return &deploymentpb.ListDeploymentsResponse{
		Deployments: tx.Deployments(ref, req.GetDestroyed(), limit(req.GetLimit())),
	}, nil
}

// ListInstances returns instances, by app and newest deployment first.
func (s *Service) ListInstances(ctx context.Context, req *deploymentpb.ListInstancesRequest) (*deploymentpb.ListInstancesResponse, error) {
	ref, err := names.Filter(req.GetApp())
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	if id := req.GetDeploymentId(); id != "" && tx.Deployment(id) == nil {
		return nil, noDeployment(id)
	}
	return &deploymentpb.ListInstancesResponse{
		Instances: tx.Instances(ref, req.GetDeploymentId(), req.GetEnded()),
	}, nil
}
