package fsm_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/errs"
)

func TestOperationsCountPerAppAndWorkspace(t *testing.T) {
	m := newShop(t)
	create := func(id, app, workspace string) uint64 {
		r := m.do(&commandpb.BuildCreate{Build: &deploymentpb.Build{
			Id: id, App: &deploymentpb.AppRef{Project: "shop", App: app, Workspace: workspace},
			Sequence: 77, Status: deploymentpb.Status_STATUS_SUCCEEDED,
		}})
		m.ok(r, id)
		return r.GetSequence()
	}
	for n, c := range []struct {
		app, workspace string
		want           uint64
	}{{"web", "default", 1}, {"web", "default", 2}, {"web", "prod", 1}, {"api", "default", 1}, {"web", "default", 3}} {
		id := string(rune('a' + n))
		if got := create(id, c.app, c.workspace); got != c.want {
			t.Errorf("build %s has number %d, want %d", id, got, c.want)
		}
	}
	row := m.store.Read().Build("b")
	if row.GetSequence() != 2 || row.GetStatus() != deploymentpb.Status_STATUS_RUNNING || row.GetCreatedAt() == nil {
		t.Errorf("the build is %v", row)
	}
	m.deployed("d1")
	if got := m.store.Read().Deployment("d1").GetSequence(); got != 1 {
		t.Errorf("the deployment has number %d: kinds share a counter", got)
	}
}

func TestOperationsThatCannotBegin(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.ok(m.do(&commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "b1", App: shopRef()}}))
	m.ok(m.do(&commandpb.BuildFinish{Id: "b1", Artifact: &deploymentpb.Artifact{Id: "a1"}}))
	m.ok(m.do(&commandpb.DeploymentCreate{Deployment: &deploymentpb.Deployment{Id: "d2", App: shopRef()}}))
	ref := func(project, app, workspace string) *deploymentpb.AppRef {
		return &deploymentpb.AppRef{Project: project, App: app, Workspace: workspace}
	}
	deploy := func(d *deploymentpb.Deployment) proto.Message { return &commandpb.DeploymentCreate{Deployment: d} }
	release := func(r *deploymentpb.Release) proto.Message { return &commandpb.ReleaseCreate{Release: r} }
	for name, c := range map[string]struct {
		kind proto.Message
		want errs.Kind
	}{
		"no project":            {&commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "x", App: ref("none", "web", "w")}}, errs.NotFound},
		"no app":                {&commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "x", App: ref("shop", "none", "w")}}, errs.NotFound},
		"no workspace":          {&commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "x", App: ref("shop", "web", "")}}, errs.Invalid},
		"a used build id":       {&commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "b1", App: shopRef()}}, errs.AlreadyExists},
		"no build at all":       {&commandpb.BuildCreate{}, errs.Invalid},
		"a used deployment id":  {deploy(&deploymentpb.Deployment{Id: "d1", App: shopRef()}), errs.AlreadyExists},
		"an unknown artifact":   {deploy(&deploymentpb.Deployment{Id: "x", App: shopRef(), ArtifactId: "none"}), errs.NotFound},
		"another app's":         {deploy(&deploymentpb.Deployment{Id: "x", App: ref("shop", "api", "w"), ArtifactId: "a1"}), errs.Invalid},
		"no token":              {deploy(&deploymentpb.Deployment{Id: "x", App: shopRef(), Entrypoint: true}), errs.Invalid},
		"an unknown deployment": {release(&deploymentpb.Release{Id: "x", App: shopRef(), DeploymentId: "none"}), errs.NotFound},
		"another workspace's":   {release(&deploymentpb.Release{Id: "x", App: ref("shop", "web", "w"), DeploymentId: "d1"}), errs.Invalid},
		"one that still runs":   {release(&deploymentpb.Release{Id: "x", App: shopRef(), DeploymentId: "d2"}), errs.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			before := m.store.Read().Counters(shopRef())
			m.refused(c.want, m.do(c.kind))
			if !proto.Equal(before, m.store.Read().Counters(shopRef())) {
				t.Error("a number was used up")
			}
		})
	}
	m.ok(m.do(deploy(&deploymentpb.Deployment{Id: "d3", App: ref("shop", "web", "other"), ArtifactId: "a1"})))
}

// finishers are the three kinds of operations, each begun with the id "o".
func finishers(m *machine, fence *deploymentpb.Fence, by string) map[string]func(failure string, fence *deploymentpb.Fence) *commandpb.Result {
	m.ok(m.as(by, &commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "o", App: shopRef(), Fence: fence}}))
	m.ok(m.as(by, &commandpb.DeploymentCreate{Deployment: &deploymentpb.Deployment{Id: "o", App: shopRef(), Fence: fence}}))
	m.ok(m.as(by, &commandpb.ReleaseCreate{Release: &deploymentpb.Release{Id: "o", App: shopRef(), Fence: fence, DeploymentId: "d1"}}))
	return map[string]func(string, *deploymentpb.Fence) *commandpb.Result{
		"build": func(failure string, f *deploymentpb.Fence) *commandpb.Result {
			return m.as(by, &commandpb.BuildFinish{Id: "o", Fence: f, Error: failure, Artifact: &deploymentpb.Artifact{Id: "a", App: &deploymentpb.AppRef{}}})
		},
		"deployment": func(failure string, f *deploymentpb.Fence) *commandpb.Result {
			return m.as(by, &commandpb.DeploymentFinish{Id: "o", Fence: f, Error: failure})
		},
		"release": func(failure string, f *deploymentpb.Fence) *commandpb.Result {
			return m.as(by, &commandpb.ReleaseFinish{Id: "o", Fence: f, Error: failure})
		},
	}
}

func TestOperationsEndOnce(t *testing.T) {
	for _, kind := range []string{"build", "deployment", "release"} {
		t.Run(kind+" succeeds", func(t *testing.T) {
			m := newShop(t)
			m.deployed("d1")
			finish := finishers(m, nil, userToken)[kind]
			m.ok(finish("", nil))
			m.unchanged(finish("", nil))
			m.refused(errs.Conflict, finish("too late", nil))
		})
		t.Run(kind+" fails", func(t *testing.T) {
			m := newShop(t)
			m.deployed("d1")
			finish := finishers(m, nil, userToken)[kind]
			m.refused(errs.StaleAttempt, finish("", fenceOf("j1", 1)))
			m.ok(finish("broken", nil))
			m.unchanged(finish("broken otherwise", nil))
			m.refused(errs.Conflict, finish("", nil))
		})
	}
	m := newShop(t)
	m.refused(errs.NotFound, m.do(&commandpb.BuildFinish{Id: "none"}))
	m.refused(errs.NotFound, m.do(&commandpb.DeploymentFinish{Id: "none"}))
	m.refused(errs.NotFound, m.do(&commandpb.ReleaseFinish{Id: "none"}))
	m.refused(errs.NotFound, m.do(&commandpb.DeploymentDestroy{Id: "none"}))
}

func TestARunnersOperationsAreFenced(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.withRunner("r")
	s := spec(jobpb.Operation_OPERATION_UP)
	s.MaxAttempts = 2
	m.running("j1", "r", s)
	m.refused(errs.PermissionDenied, m.as(runnerToken, &commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "x", App: shopRef()}}))
	for _, stale := range []*deploymentpb.Fence{fenceOf("j1", 2), fenceOf("none", 1)} {
		m.refused(errs.StaleAttempt, m.as(runnerToken, &commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "x", App: shopRef(), Fence: stale}}))
		m.refused(errs.StaleAttempt, m.as(runnerToken, &commandpb.DeploymentDestroy{Id: "d1", Fence: stale}))
	}
	finish := finishers(m, fenceOf("j1", 1), runnerToken)
	m.refused(errs.StaleAttempt, finish["build"]("", nil))
	m.ok(finish["build"]("", fenceOf("j1", 1)))
	m.ok(m.lead(&commandpb.JobExpire{Fence: fenceOf("j1", 1), Reason: "gone"}))

	m.unchanged(finish["build"]("", fenceOf("j1", 1)), "o", "a")
	m.refused(errs.Conflict, finish["deployment"]("", fenceOf("j1", 1)))
	m.unchanged(finish["release"]("failed anyway", fenceOf("j1", 1)))
	if got := m.store.Read().Deployment("o"); got.GetStatus() != deploymentpb.Status_STATUS_FAILED || got.GetError() == "" {
		t.Errorf("the deployment of the lost attempt is %v", got)
	}
	m.ok(m.lead(&commandpb.JobAssign{Id: "j1", RunnerId: "r"}))
	m.refused(errs.StaleAttempt, m.as(runnerToken, &commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "x", App: shopRef(), Fence: fenceOf("j1", 1)}}))
	m.ok(m.as(runnerToken, &commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "x", App: shopRef(), Fence: fenceOf("j1", 2)}}))
}

func TestABuildMakesAnArtifact(t *testing.T) {
	m := newShop(t)
	m.ok(m.do(&commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "b1", App: shopRef()}}))
	m.refused(errs.Invalid, m.do(&commandpb.BuildFinish{Id: "b1"}))
	m.ok(m.do(&commandpb.BuildFinish{Id: "b1", Artifact: &deploymentpb.Artifact{Id: "a1", Data: []byte("x"), BuildId: "lie"}}), "b1", "a1")
	a := m.store.Read().Artifact("a1")
	if a.GetBuildId() != "b1" || !proto.Equal(a.GetApp(), shopRef()) || string(a.GetData()) != "x" || a.GetCreatedAt() == nil {
		t.Errorf("the artifact is %v", a)
	}
	if b := m.store.Read().Build("b1"); b.GetArtifactId() != "a1" || b.GetEndedAt() == nil {
		t.Errorf("the build is %v", b)
	}
	m.ok(m.do(&commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "b2", App: shopRef()}}))
	m.refused(errs.AlreadyExists, m.do(&commandpb.BuildFinish{Id: "b2", Artifact: &deploymentpb.Artifact{Id: "a1"}}))
}

func TestDestroyingADeploymentEndsItsTokenAndInstances(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.deployed("d2")
	token := m.store.Read().Token("t-d1")
	if token.GetKind() != authpb.TokenKind_TOKEN_KIND_ENTRYPOINT || token.GetSubject() != "d1" {
		t.Errorf("the token is %v", token)
	}
	m.attached("i1", "d1", 1)
	m.attached("i2", "d2", 1)
	m.ok(m.do(&commandpb.ReleaseCreate{Release: &deploymentpb.Release{Id: "r1", App: shopRef(), DeploymentId: "d1"}}))
	m.ok(m.do(&commandpb.DeploymentDestroy{Id: "d1"}), "d1")
	m.unchanged(m.do(&commandpb.DeploymentDestroy{Id: "d1"}), "d1")
	tx := m.store.Read()
	d := tx.Deployment("d1")
	if d.GetStatus() != deploymentpb.Status_STATUS_DESTROYED || d.GetDestroyedAt() == nil || string(d.GetData()) != "pid" {
		t.Errorf("the deployment is %v", d)
	}
	if tx.Token("t-d1").GetRevokedAt() == nil || tx.Token("t-d2").GetRevokedAt() != nil {
		t.Error("not its token alone was revoked")
	}
	if tx.Instance("i1").GetState() != deploymentpb.InstanceState_INSTANCE_STATE_EXITED ||
		tx.Instance("i2").GetState() != deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED {
		t.Error("not its instances alone have ended")
	}
	m.refused(errs.Conflict, m.do(&commandpb.ReleaseFinish{Id: "r1"}))
	m.ok(m.do(&commandpb.ReleaseFinish{Id: "r1", Error: "its deployment is gone"}))
	m.refused(errs.Conflict, m.do(&commandpb.DeploymentFinish{Id: "d1"}))
	m.refused(errs.Conflict, m.attached("i3", "d1", 1))
}

func TestAReleasePointsTheWorkspaceAtItsDeployment(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.ok(m.do(&commandpb.ReleaseCreate{Release: &deploymentpb.Release{Id: "r1", App: shopRef(), DeploymentId: "d1"}}))
	if m.store.Read().CurrentRelease(shopRef()) != nil {
		t.Error("a release that has not ended counts")
	}
	m.ok(m.do(&commandpb.ReleaseFinish{Id: "r1", Url: "http://x"}))
	r := m.store.Read().CurrentRelease(shopRef())
	if r.GetId() != "r1" || r.GetDeploymentSequence() != 1 || r.GetUrl() != "http://x" || r.GetEndedAt() == nil {
		t.Errorf("the release is %v", r)
	}
}
