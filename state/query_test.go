package state

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/projectpb"
	"waypoint/api/runnerpb"
)

func at(seconds int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(seconds, 0)) }

func app(project, name, workspace string) *deploymentpb.AppRef {
	return &deploymentpb.AppRef{Project: project, App: name, Workspace: workspace}
}

func idsOf[M interface{ GetId() string }](rows []M) []string {
	ids := []string{}
	for _, row := range rows {
		ids = append(ids, row.GetId())
	}
	return ids
}

func want(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestKeysSortLikeTheirPartsAndNoneIsAPrefixOfAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringOfN(rapid.SampledFrom([]rune{0, 1, 'a', 'b', 0x7f, 0xff}), 0, 4, -1)
		a := []string{part.Draw(t, "a0"), part.Draw(t, "a1")}
		b := []string{part.Draw(t, "b0"), part.Draw(t, "b1")}
		ka, kb := key{}.str(a[0]).str(a[1]), key{}.str(b[0]).str(b[1])
		if got, want := bytes.Compare(ka, kb), slices.Compare(a, b); got != want {
			t.Fatalf("%q and %q compare %d, their keys %d", a, b, want, got)
		}
		if a[0] != b[0] && bytes.HasPrefix(kb, key{}.str(a[0])) {
			t.Fatalf("the key of %q has the prefix of %q", b, a[0])
		}
	})
}

func TestOperationsAreListedNewestFirst(t *testing.T) {
	s := New()
	commit(s, func(w *WriteTx) {
		Put(w, &deploymentpb.Build{Id: "z", App: app("p", "a", "w"), Sequence: 1, CreatedAt: at(1)})
		Put(w, &deploymentpb.Build{Id: "y", App: app("p", "a", "w"), Sequence: 2, CreatedAt: at(2)})
		Put(w, &deploymentpb.Build{Id: "x", App: app("p", "a", "w"), Sequence: 300, CreatedAt: at(2)})
		Put(w, &deploymentpb.Build{Id: "w", App: app("p", "a", "v"), Sequence: 1, CreatedAt: at(3)})
		Put(w, &deploymentpb.Build{Id: "v", App: app("p", "aa", "w"), Sequence: 1, CreatedAt: at(4)})
		Put(w, &deploymentpb.Build{Id: "u", App: app("pp", "a", "w"), Sequence: 1, CreatedAt: at(5)})
	})
	tx := s.Read()
	for _, c := range []struct {
		ref   *deploymentpb.AppRef
		limit int
		want  []string
	}{
		{app("p", "a", "w"), 0, []string{"x", "y", "z"}},
		{app("p", "a", "w"), 2, []string{"x", "y"}},
		{app("p", "a", ""), 0, []string{"w", "x", "y", "z"}},
		{app("p", "", "w"), 0, []string{"v", "x", "y", "z"}},
		{app("", "", "w"), 3, []string{"u", "v", "x"}},
		{nil, 0, []string{"u", "v", "w", "x", "y", "z"}},
		{app("none", "", ""), 0, []string{}},
	} {
		want(t, c.ref.String(), idsOf(tx.Builds(c.ref, c.limit)), c.want)
	}
	if tx.Build("none") != nil {
		t.Error("a missing build is not nil")
	}
}

func TestReleaseAndArtifactThatCount(t *testing.T) {
	s := New()
	ref := app("p", "a", "w")
	commit(s, func(w *WriteTx) {
		Put(w, &deploymentpb.Release{Id: "r1", App: ref, Sequence: 1, Status: deploymentpb.Status_STATUS_SUCCEEDED})
		Put(w, &deploymentpb.Release{Id: "r2", App: ref, Sequence: 2, Status: deploymentpb.Status_STATUS_SUCCEEDED})
		Put(w, &deploymentpb.Release{Id: "r3", App: ref, Sequence: 3, Status: deploymentpb.Status_STATUS_FAILED})
		Put(w, &deploymentpb.Artifact{Id: "a2", App: ref, CreatedAt: at(1)})
		Put(w, &deploymentpb.Artifact{Id: "a1", App: ref, CreatedAt: at(2)})
		Put(w, &deploymentpb.Deployment{Id: "d1", App: ref, Sequence: 1, Status: deploymentpb.Status_STATUS_DESTROYED})
		Put(w, &deploymentpb.Deployment{Id: "d2", App: ref, Sequence: 2, Status: deploymentpb.Status_STATUS_FAILED})
	})
	tx := s.Read()
	if got := tx.CurrentRelease(ref).GetId(); got != "r2" {
		t.Errorf("the current release is %q", got)
	}
	if got := tx.LatestArtifact(ref).GetId(); got != "a1" {
		t.Errorf("the latest artifact is %q", got)
	}
	want(t, "artifacts", idsOf(tx.Artifacts(nil, 0)), []string{"a1", "a2"})
	want(t, "releases", idsOf(tx.Releases(nil, 2)), []string{"r3", "r2"})
	want(t, "deployments", idsOf(tx.Deployments(ref, false, 0)), []string{"d2"})
	want(t, "all deployments", idsOf(tx.Deployments(ref, true, 0)), []string{"d2", "d1"})
	if tx.CurrentRelease(app("p", "b", "w")) != nil || tx.LatestArtifact(app("p", "b", "w")) != nil {
		t.Error("another app has a release or an artifact")
	}
}

func TestEffectiveConfigTakesTheNarrowest(t *testing.T) {
	const file, set = configpb.Origin_ORIGIN_FILE, configpb.Origin_ORIGIN_SET
	type row struct {
		project, app, workspace string
		origin                  configpb.Origin
	}
	// From the widest to the narrowest for app a of project p in workspace w.
	rows := []row{
		{"", "", "", set}, {"", "", "w", set},
		{"p", "", "", set}, {"p", "", "w", set},
		{"p", "a", "", file}, {"p", "a", "w", file},
		{"p", "a", "", set}, {"p", "a", "w", set},
	}
	s := New()
	put := func(r row, value string) {
		commit(s, func(w *WriteTx) {
			scope := &configpb.Scope{Project: r.project, App: r.app, Workspace: r.workspace}
			Put(w, &configpb.Variable{Scope: scope, Name: "K", Origin: r.origin, Sealed: []byte(value)})
		})
	}
	for _, foreign := range []row{{"p", "b", "", set}, {"q", "", "", set}, {"", "", "v", set}, {"p", "a", "v", set}} {
		put(foreign, "foreign")
	}
	for n, r := range rows {
		put(r, fmt.Sprint(n))
		vars, _ := s.Read().EffectiveConfig(app("p", "a", "w"))
		if len(vars) != 1 || string(vars[0].GetSealed()) != fmt.Sprint(n) {
			t.Errorf("with %+v: got %v", r, vars)
		}
	}
	list := s.Read().ConfigVariables(&configpb.Scope{Project: "p", App: "a", Workspace: "w"}, false)
	for n, v := range list {
		if string(v.GetSealed()) != fmt.Sprint(n) {
			t.Errorf("variable %d of the list is %v", n, v)
		}
	}
	for _, name := range []string{list[0].GetName(), list[0].GetName()[:1], ""} {
		want := slices.DeleteFunc(slices.Clone(list), func(v *configpb.Variable) bool { return v.GetName() != name })
		got := s.Read().ConfigVariablesNamed(&configpb.Scope{Project: "p", App: "a", Workspace: "w"}, false, name)
		if !slices.Equal(got, want) {
			t.Errorf("of the name %q are %v, want %v", name, got, want)
		}
	}
	for scope, want := range map[*configpb.Scope]int{
		{}:                          1,
		{Workspace: "w"}:            2,
		{Project: "p"}:              2,
		{Project: "p", App: "a"}:    4,
		{Project: "none"}:           1,
		{App: "a", Workspace: "no"}: 1,
	} {
		if got := len(s.Read().ConfigVariables(scope, false)); got != want {
			t.Errorf("%v has %d variables, want %d", scope, got, want)
		}
	}
	if got := len(s.Read().ConfigVariables(&configpb.Scope{Project: "p", App: "a"}, true)); got != 2 {
		t.Errorf("exactly the app has %d variables", got)
	}
}

func TestWorkspacesExistByUse(t *testing.T) {
	s := New()
	commit(s, func(w *WriteTx) {
		Put(w, &projectpb.Project{Name: "p"})
		Put(w, &commandpb.Counters{App: app("p", "a", "prod"), ActiveAt: at(5)})
		Put(w, &commandpb.Counters{App: app("q", "a", "prod"), ActiveAt: at(9)})
		Put(w, &commandpb.Counters{App: app("q", "b", "dev"), ActiveAt: at(1)})
		Put(w, &configpb.Variable{Scope: &configpb.Scope{Project: "p", Workspace: "test"}, Name: "K", UpdatedAt: at(3)})
		Put(w, &configpb.Variable{Scope: &configpb.Scope{Project: "p"}, Name: "K", UpdatedAt: at(4)})
	})
	show := func(project string) (list []string) {
		for _, w := range s.Read().Workspaces(project) {
			list = append(list, fmt.Sprint(w.GetName(), w.GetProjects(), w.GetActiveAt().GetSeconds()))
		}
		return list
	}
	want(t, "all", show(""), []string{"dev[q] 1", "prod[p q] 9", "test[p] 3"})
	want(t, "of p", show("p"), []string{"prod[p] 5", "test[p] 3"})
}

func TestInstancesAndRunners(t *testing.T) {
	s := New()
	commit(s, func(w *WriteTx) {
		put := func(id, deployment string, sequence uint64, ref *deploymentpb.AppRef, state deploymentpb.InstanceState, changed int64) {
			Put(w, &deploymentpb.Instance{Id: id, DeploymentId: deployment, DeploymentSequence: sequence, App: ref,
				NodeId: "n" + id, State: state, ChangedAt: at(changed)})
		}
		put("1", "d1", 1, app("p", "a", "w"), deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED, 1)
		put("2", "d2", 2, app("p", "a", "w"), deploymentpb.InstanceState_INSTANCE_STATE_LOST, 2)
		put("3", "d2", 2, app("p", "a", "w"), deploymentpb.InstanceState_INSTANCE_STATE_EXITED, 3)
		put("4", "d3", 1, app("p", "b", "w"), deploymentpb.InstanceState_INSTANCE_STATE_DETACHED, 4)
		Put(w, &runnerpb.Runner{Id: "r1", Name: "z", NodeId: "n1", State: runnerpb.State_STATE_ATTACHED})
		Put(w, &runnerpb.Runner{Id: "r2", Name: "a", NodeId: "n1", State: runnerpb.State_STATE_LOST, ChangedAt: at(2)})
	})
	tx := s.Read()
	want(t, "all", idsOf(tx.Instances(nil, "", true)), []string{"2", "3", "1", "4"})
	want(t, "living", idsOf(tx.Instances(app("p", "", "w"), "", false)), []string{"2", "1", "4"})
	want(t, "of a deployment", idsOf(tx.Instances(nil, "d2", true)), []string{"2", "3"})
	want(t, "of another app's deployment", idsOf(tx.Instances(app("p", "b", ""), "d2", true)), []string{})
	want(t, "of a node", idsOf(tx.InstancesOfNode("n2")), []string{"2"})
	want(t, "away", idsOf(tx.InstancesAwayBefore(time.Unix(4, 0), 9)), []string{"2", "3"})
	want(t, "away, bounded", idsOf(tx.InstancesAwayBefore(time.Unix(9, 0), 1)), []string{"2"})
	want(t, "runners", idsOf(tx.Runners()), []string{"r2", "r1"})
	want(t, "runners of a node", idsOf(tx.RunnersOfNode("n1")), []string{"r1", "r2"})
	want(t, "runners away", idsOf(tx.RunnersAwayBefore(time.Unix(3, 0), 9)), []string{"r2"})
}

func TestJobs(t *testing.T) {
	const queued, running, failed = jobpb.State_STATE_QUEUED, jobpb.State_STATE_RUNNING, jobpb.State_STATE_FAILED
	s := New()
	commit(s, func(w *WriteTx) {
		put := func(id, project string, state jobpb.State, runner string, seconds int64) {
			j := &jobpb.Job{Id: id, Spec: &jobpb.Spec{Project: project, App: "a", Workspace: "w"}, State: state,
				RunnerId: runner, CreatedAt: at(seconds)}
			if JobEnded(j) {
				j.EndedAt = at(100 - seconds)
			}
			Put(w, j)
		}
		put("1", "p", queued, "", 1)
		put("2", "p", running, "r", 2)
		put("3", "q", queued, "", 3)
		put("4", "p", failed, "r", 4)
		put("5", "p", failed, "s", 5)
	})
	tx := s.Read()
	for _, c := range []struct {
		filter JobFilter
		want   []string
	}{
		{JobFilter{}, []string{"5", "4", "3", "2", "1"}},
		{JobFilter{Limit: 2}, []string{"5", "4"}},
		{JobFilter{Project: "p", States: []jobpb.State{queued, failed}}, []string{"5", "4", "1"}},
		{JobFilter{States: []jobpb.State{running, queued, queued}}, []string{"3", "2", "1"}},
		{JobFilter{States: []jobpb.State{running, queued}, Limit: 1}, []string{"3"}},
		{JobFilter{RunnerID: "r"}, []string{"4", "2"}},
		{JobFilter{Workspace: "v"}, []string{}},
	} {
		want(t, fmt.Sprintf("%+v", c.filter), idsOf(tx.Jobs(c.filter)), c.want)
	}
	want(t, "of a project", idsOf(tx.JobsOfProject("q")), []string{"3"})
	want(t, "worked on", idsOf(tx.JobsWorkedOn("r")), []string{"2"})
	want(t, "beyond none", idsOf(tx.JobsEndedBeyond(0, 9)), []string{"4", "5"})
	want(t, "beyond one", idsOf(tx.JobsEndedBeyond(1, 9)), []string{"5"})
	want(t, "beyond none, bounded", idsOf(tx.JobsEndedBeyond(0, 1)), []string{"4"})
	if tx.JobOutput("4") != nil {
		t.Error("a missing output is not nil")
	}
}

func TestTokensEndByExpiryOrRevocation(t *testing.T) {
	s := New()
	commit(s, func(w *WriteTx) {
		Put(w, &authpb.Token{Id: "forever"})
		Put(w, &authpb.Token{Id: "expires", ExpiresAt: at(5)})
		Put(w, &authpb.Token{Id: "revoked", RevokedAt: at(4)})
		Put(w, &authpb.Token{Id: "both", ExpiresAt: at(9), RevokedAt: at(2)})
		Put(w, &authpb.Token{Id: "late", ExpiresAt: at(3), RevokedAt: at(8)})
	})
	tx := s.Read()
	want(t, "ended", idsOf(tx.TokensEndedBefore(time.Unix(5, 0), 9)), []string{"both", "late", "revoked"})
	want(t, "all", idsOf(tx.Tokens()), []string{"both", "expires", "forever", "late", "revoked"})
	if tx.Token("none") != nil || tx.Secret("none") != nil {
		t.Error("a missing row is not nil")
	}
}
