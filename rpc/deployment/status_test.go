package deployment_test

import (
	"testing"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
)

// check asserts the words and verdict about the app web.
func (n *node) check(step, summary string, healthy bool) *deploymentpb.AppStatus {
	n.t.Helper()
	got := n.status(web)
	if len(got) != 1 {
		n.t.Fatalf("%s: %d answers", step, len(got))
	}
	if got[0].GetSummary() != summary || got[0].GetHealthy() != healthy {
		n.t.Errorf("%s: %q, healthy %v; want %q, %v", step, got[0].GetSummary(), got[0].GetHealthy(), summary, healthy)
	}
	return got[0]
}

// exit ends an instance.
func (n *node) exit(id string, code int32) {
	n.t.Helper()
	n.Do(&commandpb.Command_InstanceUpdate{InstanceUpdate: &commandpb.InstanceUpdate{
		Id: id, NodeId: n.NodeID, NodeBoot: n.BootID, Generation: 1, State: deploymentpb.InstanceState_INSTANCE_STATE_EXITED, ExitCode: code,
	}})
}

func TestStatusFollowsADeployment(t *testing.T) {
	n := start(t)
	n.check("new", "nothing deployed yet", false)
	n.built()
	n.check("built", "nothing deployed: built, not deployed", false)
	d := n.begun(true, 2).GetDeployment()
	n.check("begun", "v1 is being deployed: 0 of 2 instances attached", false)
	if _, err := n.client.FinishDeployment(t.Context(), &deploymentpb.FinishDeploymentRequest{Id: d.GetId()}); err != nil {
		t.Fatal(err)
	}
	n.attach(d)
	n.check("one attached", "1 of 2 instances attached", false)
	second := n.attach(d)
	n.released(d)
	status := n.check("all attached", "2 of 2 instances attached", true)
	if status.GetReleased().GetId() != d.GetId() || len(status.GetInstances()) != 2 || status.GetBuild().GetSequence() != 2 {
		t.Errorf("status %v", status)
	}
	n.Do(&commandpb.Command_InstanceUpdate{InstanceUpdate: &commandpb.InstanceUpdate{
		Id: second, NodeId: n.NodeID, NodeBoot: n.BootID, Generation: 1, ChildPid: 7, ChildStarts: 1, RestartWanted: []byte("new"),
	}})
	n.check("one wants to restart", "2 of 2 instances attached, 1 to restart for a newer configuration", true)
	n.Do(&commandpb.Command_InstanceUpdate{InstanceUpdate: &commandpb.InstanceUpdate{
		Id: second, NodeId: n.NodeID, NodeBoot: n.BootID, Generation: 1, State: deploymentpb.InstanceState_INSTANCE_STATE_DETACHED,
	}})
	n.check("one away", "1 of 2 instances attached, 1 detached", false)
	n.Lead(&commandpb.Command_NodeLost{NodeLost: &commandpb.NodeLost{NodeId: n.NodeID, BootId: n.BootID}})
	n.check("node lost", "0 of 2 instances attached, 1 detached, 1 lost with its node", false)
	n.exit(n.attach(d), 3)
	n.check("one ended", "0 of 2 instances attached, 1 detached, 1 lost with its node, 1 ended with exit code 3", false)
	n.exit(n.attach(d), 127)
	n.check("two ended", "0 of 2 instances attached, 1 detached, 1 lost with its node, 2 ended, the newest with exit code 127", false)
	if _, err := n.client.DestroyDeployment(t.Context(), &deploymentpb.DestroyDeploymentRequest{Id: d.GetId()}); err != nil {
		t.Fatal(err)
	}
	if status := n.check("destroyed", "nothing deployed: built, not deployed", false); len(status.GetInstances()) != 0 {
		t.Errorf("instances of what is destroyed: %v", status.GetInstances())
	}
}

func TestStatusWithoutEntrypointIsThePlatforms(t *testing.T) {
	n := start(t)
	n.deployed(false, 1)
	n.check("one", "1 instance, no entrypoint: the platform runs it", true)
	n.deployed(false, 0)
	n.check("none", "deployed without the entrypoint: the platform counts no instances", true)
	n.deployed(false, 3)
	n.check("three", "3 instances, no entrypoint: the platform runs them", true)
}

func TestStatusTellsOfFailures(t *testing.T) {
	n := start(t)
	d := n.begun(true, 1).GetDeployment()
	_, err := n.client.FinishDeployment(t.Context(), &deploymentpb.FinishDeploymentRequest{Id: d.GetId(), Error: "no such host\ndetails"})
	if err != nil {
		t.Fatal(err)
	}
	n.check("failed", "v1 failed: no such host", false)
}

func TestStatusShowsEachAppAndWorkspace(t *testing.T) {
	n := start(t)
	n.deployed(false, 1)
	beta := &deploymentpb.AppRef{Project: "shop", App: "web", Workspace: "beta"}
	if _, err := n.client.CreateBuild(t.Context(), &deploymentpb.CreateBuildRequest{App: beta, Plugin: "exec"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, status := range n.status(nil) {
		got = append(got, status.GetApp().GetApp()+"@"+status.GetApp().GetWorkspace()+": "+status.GetSummary())
	}
	want := []string{
		"idle@default: nothing deployed yet",
		"web@beta: nothing deployed: a build is running",
		"web@default: 1 instance, no entrypoint: the platform runs it",
	}
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
	if narrowed := n.status(beta); len(narrowed) != 1 || narrowed[0].GetApp().GetWorkspace() != "beta" {
		t.Errorf("narrowed to beta: %v", narrowed)
	}
	for _, ref := range []*deploymentpb.AppRef{{Project: "none"}, {App: "none"}} {
		_, err := n.client.Status(t.Context(), &deploymentpb.StatusRequest{App: ref})
		mustBe(t, err, errs.NotFound, "none")
	}
}
