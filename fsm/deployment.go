package fsm

import (
	"google.golang.org/protobuf/proto"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/state"
)

// deploymentCreate records that a deployment has begun, with the token of its
// entrypoints. The result has its number.
func deploymentCreate(o *op, c *commandpb.DeploymentCreate) (*commandpb.Result, error) {
	deployment := c.GetDeployment()
	if err := checkDeployment(o, deployment); err != nil {
		return nil, err
	}
	row := &deploymentpb.Deployment{
		Id:         deployment.GetId(),
		App:        deployment.GetApp(),
		Sequence:   o.count(deployment.GetApp(), func(c *commandpb.Counters) *uint64 { return &c.Deployments }),
		Fence:      deployment.GetFence(),
		ArtifactId: deployment.GetArtifactId(),
		Plugin:     deployment.GetPlugin(),
		Host:       deployment.GetHost(),
		Status:     deploymentpb.Status_STATUS_RUNNING,
		Instances:  deployment.GetInstances(),
		Entrypoint: deployment.GetEntrypoint(),
		TokenId:    c.GetToken().GetId(),
		CreatedAt:  o.now,
	}
	if err := insertEntrypointToken(o, c.GetToken(), row); err != nil {
		return nil, err
	}
	state.Put(o.WriteTx, row)
	return &commandpb.Result{Ids: []string{row.GetId()}, Sequence: row.GetSequence()}, nil
}

func checkDeployment(o *op, d *deploymentpb.Deployment) error {
	if err := o.checkRef(d.GetApp()); err != nil {
		return err
	}
	if err := o.checkFence(d.GetFence()); err != nil {
		return err
	}
	if d.GetId() == "" || o.Deployment(d.GetId()) != nil {
		return errs.New(errs.AlreadyExists, "a deployment needs an id of its own, not %q", d.GetId())
	}
	if d.GetArtifactId() == "" {
		return nil
	}
	artifact := o.Artifact(d.GetArtifactId())
	if artifact == nil {
		return errs.New(errs.NotFound, "there is no artifact %s", d.GetArtifactId())
	}
	if artifact.GetApp().GetProject() != d.GetApp().GetProject() || artifact.GetApp().GetApp() != d.GetApp().GetApp() {
		return errs.New(errs.Invalid, "artifact %s is of another app", d.GetArtifactId())
	}
	return nil
}

func insertEntrypointToken(o *op, token *authpb.Token, d *deploymentpb.Deployment) error {
	if token == nil && d.GetEntrypoint() {
		return errs.New(errs.Invalid, "a deployment with entrypoints needs a token for them")
	}
	if token == nil {
		return nil
	}
	token = proto.CloneOf(token)
	token.Kind, token.Subject = authpb.TokenKind_TOKEN_KIND_ENTRYPOINT, d.GetId()
	return insertToken(o, token, o.command.GetTokenId())
}

// deploymentFinish records how the making of a deployment ended. What the
// platform needs to destroy it is kept in any case.
func deploymentFinish(o *op, c *commandpb.DeploymentFinish) (*commandpb.Result, error) {
	deployment := o.Deployment(c.GetId())
	if deployment == nil {
		return nil, errs.New(errs.NotFound, "there is no deployment %s", c.GetId())
	}
	already, err := o.checkFinish(finishing{
		what: "deployment " + c.GetId(), status: deployment.GetStatus(), own: deployment.GetFence(), given: c.GetFence(), wantFailure: c.GetError() != "",
	})
	if err != nil {
		return nil, err
	}
	if already {
		return unchanged(c.GetId()), nil
	}
	row := proto.CloneOf(deployment)
	row.Status, row.Error, row.EndedAt = outcome(c.GetError()), c.GetError(), o.now
	row.Data, row.Url = c.GetData(), c.GetUrl()
	state.Put(o.WriteTx, row)
	return &commandpb.Result{Ids: []string{c.GetId()}, Sequence: row.GetSequence()}, nil
}

// deploymentDestroy records that a deployment's copies are gone. Its token
// works no more and its instances count as exited.
func deploymentDestroy(o *op, c *commandpb.DeploymentDestroy) (*commandpb.Result, error) {
	deployment := o.Deployment(c.GetId())
	if deployment == nil {
		return nil, errs.New(errs.NotFound, "there is no deployment %s", c.GetId())
	}
	if deployment.GetStatus() == deploymentpb.Status_STATUS_DESTROYED {
		return unchanged(c.GetId()), nil
	}
	if err := o.checkFence(c.GetFence()); err != nil {
		return nil, err
	}
	row := proto.CloneOf(deployment)
	row.Status, row.DestroyedAt = deploymentpb.Status_STATUS_DESTROYED, o.now
	if row.GetEndedAt() == nil {
		row.EndedAt = o.now
	}
	state.Put(o.WriteTx, row)
	if token := o.Token(row.GetTokenId()); token != nil {
		revoke(o, token)
	}
	for _, instance := range o.Instances(nil, c.GetId(), false) {
		instance = proto.CloneOf(instance)
		instance.State, instance.ChangedAt = deploymentpb.InstanceState_INSTANCE_STATE_EXITED, o.now
		state.Put(o.WriteTx, instance)
	}
	return &commandpb.Result{Ids: []string{c.GetId()}, Sequence: row.GetSequence()}, nil
}
