package deployment_test

import (
	"strings"
	"testing"

	"waypoint/api/authpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/token"
	"waypoint/rpc/rpctest"
)

func TestBuildLeavesAnArtifact(t *testing.T) {
	n := start(t)
	ctx := t.Context()
	made, err := n.client.CreateBuild(ctx, &deploymentpb.CreateBuildRequest{App: web, Plugin: "exec"})
	if err != nil || made.GetBuild().GetSequence() != 1 || made.GetBuild().GetStatus() != deploymentpb.Status_STATUS_RUNNING || made.GetBuild().GetApp().GetWorkspace() != "default" {
		t.Fatalf("begun: %v %v", made, err)
	}
	done, err := n.client.FinishBuild(ctx, &deploymentpb.FinishBuildRequest{Id: made.GetBuild().GetId(), Artifact: artifact()})
	if err != nil || done.GetBuild().GetStatus() != deploymentpb.Status_STATUS_SUCCEEDED || string(done.GetArtifact().GetData()) != "data" {
		t.Fatalf("finished: %v %v", done, err)
	}
	newest, err := n.client.GetArtifact(ctx, &deploymentpb.GetArtifactRequest{App: web})
	if err != nil || newest.GetArtifact().GetId() != done.GetArtifact().GetId() || newest.GetArtifact().GetBuildId() != made.GetBuild().GetId() {
		t.Fatalf("newest: %v %v", newest, err)
	}
	if byID, err := n.client.GetArtifact(ctx, &deploymentpb.GetArtifactRequest{Id: newest.GetArtifact().GetId()}); err != nil || byID.GetArtifact().GetHost() != "a" {
		t.Fatalf("by id: %v %v", byID, err)
	}
	list, err := n.client.ListBuilds(ctx, &deploymentpb.ListBuildsRequest{})
	if err != nil || len(list.GetBuilds()) != 1 {
		t.Fatalf("list: %v %v", list, err)
	}
}

func TestFailureIsRecordedHoweverLong(t *testing.T) {
	n := start(t)
	made, err := n.client.CreateBuild(t.Context(), &deploymentpb.CreateBuildRequest{App: web, Plugin: "exec"})
	if err != nil {
		t.Fatal(err)
	}
	done, err := n.client.FinishBuild(t.Context(), &deploymentpb.FinishBuildRequest{Id: made.GetBuild().GetId(), Error: strings.Repeat("é", 10_000)})
	if err != nil || done.GetBuild().GetStatus() != deploymentpb.Status_STATUS_FAILED || done.GetArtifact() != nil {
		t.Fatalf("%v %v", done.GetBuild().GetStatus(), err)
	}
	if text := done.GetBuild().GetError(); len(text) > 4096 || !strings.HasSuffix(text, "é...") {
		t.Errorf("error of %d bytes ends with %q", len(text), text[len(text)-8:])
	}
}

func TestDeploymentComesWithWhatItsEntrypointsNeed(t *testing.T) {
	n := start(t)
	made := n.begun(true, 2)
	d := made.GetDeployment()
	if d.GetSequence() != 1 || d.GetStatus() != deploymentpb.Status_STATUS_RUNNING || d.GetInstances() != 2 {
		t.Errorf("deployment %v", d)
	}
	if len(made.GetServerAddrs()) == 0 || made.GetServerCa() != n.CAFingerprint() {
		t.Errorf("addresses %v, CA %q", made.GetServerAddrs(), made.GetServerCa())
	}
	key, _ := n.TokenKey()
	signed, err := token.Verify(key, made.GetEntrypointToken())
	if err != nil || signed.GetSubject() != d.GetId() || signed.GetId() != d.GetTokenId() || signed.GetKind() != authpb.TokenKind_TOKEN_KIND_ENTRYPOINT {
		t.Errorf("token %v %v", signed, err)
	}
	if row := n.Store.Read().Token(d.GetTokenId()); row.GetSubject() != d.GetId() {
		t.Errorf("token row %v", row)
	}
	if bare := n.begun(false, 1); bare.GetEntrypointToken() != "" || bare.GetDeployment().GetTokenId() != "" {
		t.Errorf("a deployment without entrypoint has a token: %v", bare)
	}
}

func TestRetryOfADeploymentIsTheSameDeployment(t *testing.T) {
	n := start(t)
	req := &deploymentpb.CreateDeploymentRequest{App: web, Plugin: "local", ArtifactId: n.built().GetId(), Instances: 1, Entrypoint: true}
	ctx := rpctest.WithRequestID(t.Context(), ids.New())
	first, err := n.client.CreateDeployment(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	second, err := n.client.CreateDeployment(ctx, req)
	if err != nil || second.GetDeployment().GetId() != first.GetDeployment().GetId() || second.GetEntrypointToken() != first.GetEntrypointToken() {
		t.Errorf("second %v %v", second, err)
	}
	list, err := n.client.ListDeployments(t.Context(), &deploymentpb.ListDeploymentsRequest{App: web})
	if err != nil || len(list.GetDeployments()) != 1 {
		t.Errorf("list %v %v", list, err)
	}
}

func TestDestroyedDeploymentIsHiddenAndItsTokenRevoked(t *testing.T) {
	n := start(t)
	d := n.deployed(true, 1).GetDeployment()
	n.attach(d)
	got, err := n.client.GetDeployment(t.Context(), &deploymentpb.GetDeploymentRequest{Id: d.GetId()})
	if err != nil || len(got.GetInstances()) != 1 || got.GetArtifact().GetId() != d.GetArtifactId() {
		t.Fatalf("get: %v %v", got, err)
	}
	gone, err := n.client.DestroyDeployment(t.Context(), &deploymentpb.DestroyDeploymentRequest{Id: d.GetId()})
	if err != nil || gone.GetDeployment().GetStatus() != deploymentpb.Status_STATUS_DESTROYED {
		t.Fatalf("destroy: %v %v", gone, err)
	}
	if n.Store.Read().Token(d.GetTokenId()).GetRevokedAt() == nil {
		t.Error("its token still works")
	}
	for destroyed, want := range map[bool]int{false: 0, true: 1} {
		list, err := n.client.ListDeployments(t.Context(), &deploymentpb.ListDeploymentsRequest{App: web, Destroyed: destroyed})
		if err != nil || len(list.GetDeployments()) != want {
			t.Errorf("destroyed %v: %v %v", destroyed, list, err)
		}
		instances, err := n.client.ListInstances(t.Context(), &deploymentpb.ListInstancesRequest{DeploymentId: d.GetId(), Ended: destroyed})
		if err != nil || len(instances.GetInstances()) != want {
			t.Errorf("ended %v: %v %v", destroyed, instances, err)
		}
	}
}

func TestReleasePointsAtItsDeployment(t *testing.T) {
	n := start(t)
	d := n.deployed(false, 1).GetDeployment()
	release := n.released(d)
	if release.GetStatus() != deploymentpb.Status_STATUS_SUCCEEDED || release.GetDeploymentSequence() != 1 || release.GetUrl() != "http://web" {
		t.Errorf("release %v", release)
	}
	list, err := n.client.ListReleases(t.Context(), &deploymentpb.ListReleasesRequest{App: web})
	if err != nil || len(list.GetReleases()) != 1 {
		t.Errorf("list %v %v", list, err)
	}
}

func TestRunnersWorkForJobsOnly(t *testing.T) {
	n := start(t)
	_, text := n.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "builder")
	client := deploymentpb.NewDeploymentServiceClient(n.server.Dial(text))
	_, err := client.CreateBuild(t.Context(), &deploymentpb.CreateBuildRequest{App: web, Plugin: "exec"})
	mustBe(t, err, errs.Invalid, "no job")
	_, err = client.CreateBuild(t.Context(), &deploymentpb.CreateBuildRequest{App: web, Plugin: "exec", Fence: &deploymentpb.Fence{JobId: ids.New()}})
	mustBe(t, err, errs.Invalid, "attempt")
	_, err = client.CreateBuild(t.Context(), &deploymentpb.CreateBuildRequest{App: web, Plugin: "exec", Fence: &deploymentpb.Fence{JobId: ids.New(), Attempt: 1}})
	mustBe(t, err, errs.StaleAttempt, "job")
}

func TestBadRecordsAreRefused(t *testing.T) {
	n := start(t)
	ctx := t.Context()
	large := make([]byte, 65<<10)
	for name, c := range map[string]struct {
		do   func() error
		kind errs.Kind
		word string
	}{
		"no app": {func() error {
			_, err := n.client.CreateBuild(ctx, &deploymentpb.CreateBuildRequest{Plugin: "exec"})
			return err
		}, errs.Invalid, "project name"},
		"no plugin": {func() error {
			_, err := n.client.CreateBuild(ctx, &deploymentpb.CreateBuildRequest{App: web})
			return err
		}, errs.Invalid, "plugin name"},
		"unknown project": {func() error {
			_, err := n.client.CreateBuild(ctx, &deploymentpb.CreateBuildRequest{App: &deploymentpb.AppRef{Project: "x", App: "y"}, Plugin: "exec"})
			return err
		}, errs.NotFound, "x"},
		"no build": {func() error {
			_, err := n.client.FinishBuild(ctx, &deploymentpb.FinishBuildRequest{Artifact: artifact()})
			return err
		}, errs.Invalid, "build"},
		"no artifact": {func() error {
			_, err := n.client.FinishBuild(ctx, &deploymentpb.FinishBuildRequest{Id: ids.New()})
			return err
		}, errs.Invalid, "artifact"},
		"large artifact": {func() error {
			_, err := n.client.FinishBuild(ctx, &deploymentpb.FinishBuildRequest{Id: ids.New(), Artifact: &deploymentpb.Artifact{Plugin: "exec", Data: large}})
			return err
		}, errs.Exhausted, "65536"},
		"deploy nothing": {func() error {
			_, err := n.client.CreateDeployment(ctx, &deploymentpb.CreateDeploymentRequest{App: web, Plugin: "local"})
			return err
		}, errs.Invalid, "artifact"},
		"deploy the unknown": {func() error {
			_, err := n.client.CreateDeployment(ctx, &deploymentpb.CreateDeploymentRequest{App: web, Plugin: "local", ArtifactId: ids.New()})
			return err
		}, errs.NotFound, "artifact"},
		"too many": {func() error {
			_, err := n.client.CreateDeployment(ctx, &deploymentpb.CreateDeploymentRequest{App: web, Plugin: "local", ArtifactId: "x", Instances: 1 << 20})
			return err
		}, errs.Exhausted, "instances"},
		"large data": {func() error {
			_, err := n.client.FinishDeployment(ctx, &deploymentpb.FinishDeploymentRequest{Id: ids.New(), Data: large})
			return err
		}, errs.Exhausted, "65536"},
		"finish the unknown": {func() error {
			_, err := n.client.FinishDeployment(ctx, &deploymentpb.FinishDeploymentRequest{Id: ids.New()})
			return err
		}, errs.NotFound, "deployment"},
		"destroy nothing": {func() error {
			_, err := n.client.DestroyDeployment(ctx, &deploymentpb.DestroyDeploymentRequest{})
			return err
		}, errs.Invalid, "deployment"},
		"release nothing": {func() error {
			_, err := n.client.CreateRelease(ctx, &deploymentpb.CreateReleaseRequest{App: web, Plugin: "noop"})
			return err
		}, errs.Invalid, "deployment"},
		"get the unknown": {func() error {
			_, err := n.client.GetDeployment(ctx, &deploymentpb.GetDeploymentRequest{Id: "x"})
			return err
		}, errs.NotFound, "deployment list"},
		"artifact of nothing": {func() error {
			_, err := n.client.GetArtifact(ctx, &deploymentpb.GetArtifactRequest{App: web})
			return err
		}, errs.NotFound, "waypoint build"},
		"instances of the unknown": {func() error {
			_, err := n.client.ListInstances(ctx, &deploymentpb.ListInstancesRequest{DeploymentId: "x"})
			return err
		}, errs.NotFound, "deployment list"},
		"bad filter": {func() error {
			_, err := n.client.ListReleases(ctx, &deploymentpb.ListReleasesRequest{App: &deploymentpb.AppRef{Workspace: "a b"}})
			return err
		}, errs.Invalid, "workspace name"},
	} {
		t.Run(name, func(t *testing.T) { mustBe(t, c.do(), c.kind, c.word) })
	}
}
