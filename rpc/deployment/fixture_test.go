package deployment_test

import (
	"strings"
	"testing"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/deployment"
	"waypoint/rpc/rpctest"
)

type node struct {
	*rpctest.Fixture
	t      *testing.T
	server *rpctest.Server
	client deploymentpb.DeploymentServiceClient
}

func start(t *testing.T) *node {
	f := rpctest.New(t)
	server := f.Serve(deployment.New(deployment.Config{
		Reader: f.Reader(), Applier: f, TokenKey: f.TokenKey, Servers: f.Servers, CA: f.CAFingerprint(),
	}))
	f.Do(&commandpb.Command_ProjectApply{ProjectApply: &commandpb.ProjectApply{Name: "shop", Apps: []string{"web", "idle"}}})
	return &node{Fixture: f, t: t, server: server, client: deploymentpb.NewDeploymentServiceClient(server.Dial(f.User))}
}

var web = &deploymentpb.AppRef{Project: "shop", App: "web"}

func mustBe(t *testing.T, err error, kind errs.Kind, word string) {
	t.Helper()
	if !errs.Is(err, kind) || !strings.Contains(err.Error(), word) {
		t.Errorf("error %v, want kind %v and the word %q", err, kind, word)
	}
}

func artifact() *deploymentpb.Artifact {
	return &deploymentpb.Artifact{Plugin: "exec", Host: "a", Description: "/tmp/web", Data: []byte("data")}
}

// built makes a build and returns its artifact.
func (n *node) built() *deploymentpb.Artifact {
	n.t.Helper()
	made, err := n.client.CreateBuild(n.t.Context(), &deploymentpb.CreateBuildRequest{App: web, Plugin: "exec"})
	if err != nil {
		n.t.Fatal(err)
	}
	done, err := n.client.FinishBuild(n.t.Context(), &deploymentpb.FinishBuildRequest{Id: made.GetBuild().GetId(), Artifact: artifact()})
	if err != nil {
		n.t.Fatal(err)
	}
	return done.GetArtifact()
}

// begun begins a deployment.
func (n *node) begun(entrypoint bool, instances uint32) *deploymentpb.CreateDeploymentResponse {
	n.t.Helper()
	made, err := n.client.CreateDeployment(n.t.Context(), &deploymentpb.CreateDeploymentRequest{
		App: web, Plugin: "local", Host: "a", ArtifactId: n.built().GetId(), Instances: instances, Entrypoint: entrypoint,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return made
}

func (n *node) deployed(entrypoint bool, instances uint32) *deploymentpb.CreateDeploymentResponse {
	n.t.Helper()
	made := n.begun(entrypoint, instances)
	if _, err := n.client.FinishDeployment(n.t.Context(), &deploymentpb.FinishDeploymentRequest{Id: made.GetDeployment().GetId()}); err != nil {
		n.t.Fatal(err)
	}
	return made
}

func (n *node) released(d *deploymentpb.Deployment) *deploymentpb.Release {
	n.t.Helper()
	made, err := n.client.CreateRelease(n.t.Context(), &deploymentpb.CreateReleaseRequest{App: web, DeploymentId: d.GetId(), Plugin: "noop"})
	if err != nil {
		n.t.Fatal(err)
	}
	done, err := n.client.FinishRelease(n.t.Context(), &deploymentpb.FinishReleaseRequest{Id: made.GetRelease().GetId(), Url: "http://web"})
	if err != nil {
		n.t.Fatal(err)
	}
	return done.GetRelease()
}

// attach attaches an instance of a deployment to this node.
func (n *node) attach(d *deploymentpb.Deployment) string {
	n.t.Helper()
	id := ids.New()
	n.Do(&commandpb.Command_InstanceAttach{InstanceAttach: &commandpb.InstanceAttach{Instance: &deploymentpb.Instance{
		Id: id, DeploymentId: d.GetId(), App: d.GetApp(), NodeId: n.NodeID, NodeBoot: n.BootID, Generation: 1, Host: "a",
		State: deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED,
	}}})
	return id
}

func (n *node) status(ref *deploymentpb.AppRef) []*deploymentpb.AppStatus {
	n.t.Helper()
	answer, err := n.client.Status(n.t.Context(), &deploymentpb.StatusRequest{App: ref})
	if err != nil {
		n.t.Fatal(err)
	}
	return answer.GetApps()
}
