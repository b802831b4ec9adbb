package project_test

import (
	"strings"
	"testing"

	"waypoint/api/projectpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/project"
	"waypoint/rpc/rpctest"
)

func start(t *testing.T) projectpb.ProjectServiceClient {
	f := rpctest.New(t)
	server := f.Serve(project.New(project.Config{Reader: f.Reader(), Applier: f}))
	return projectpb.NewProjectServiceClient(server.Dial(f.User))
}

func mustBe(t *testing.T, err error, kind errs.Kind, word string) {
	t.Helper()
	if !errs.Is(err, kind) || !strings.Contains(err.Error(), word) {
		t.Errorf("error %v, want kind %v and the word %q", err, kind, word)
	}
}

func TestProjectGrowsByItsApps(t *testing.T) {
	client, ctx := start(t), t.Context()
	first, err := client.ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: "shop", Apps: []string{"web", "api", "web"}})
	if err != nil || len(first.GetProject().GetApps()) != 2 || first.GetProject().GetVersion() != 1 {
		t.Fatalf("first: %v %v", first, err)
	}
	second, err := client.ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: "shop", Apps: []string{"jobs"}})
	if err != nil || len(second.GetProject().GetApps()) != 3 {
		t.Fatalf("second: %v %v", second, err)
	}
	got, err := client.GetProject(ctx, &projectpb.GetProjectRequest{Name: "shop"})
	if err != nil || got.GetProject().GetVersion() != second.GetProject().GetVersion() {
		t.Fatalf("get: %v %v", got, err)
	}
	list, err := client.ListProjects(ctx, &projectpb.ListProjectsRequest{})
	if err != nil || len(list.GetProjects()) != 1 {
		t.Fatalf("list: %v %v", list, err)
	}
	if _, err := client.DestroyProject(ctx, &projectpb.DestroyProjectRequest{Name: "shop"}); err != nil {
		t.Fatal(err)
	}
	_, err = client.GetProject(ctx, &projectpb.GetProjectRequest{Name: "shop"})
	mustBe(t, err, errs.NotFound, "project list")
}

func TestRetryOfAnApplyIsTheSameChange(t *testing.T) {
	client := start(t)
	ctx := rpctest.WithRequestID(t.Context(), ids.New())
	for range 2 {
		answer, err := client.ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: "shop", Apps: []string{"web"}})
		if err != nil || answer.GetProject().GetVersion() != 1 {
			t.Fatalf("%v %v", answer, err)
		}
	}
}

func TestBadNamesAreRefused(t *testing.T) {
	client, ctx := start(t), t.Context()
	for _, name := range []string{"", ".x", "-x", "a/b", "a b", "ä", strings.Repeat("a", 65), "a\n"} {
		_, err := client.ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: name})
		mustBe(t, err, errs.Invalid, "project name")
		_, err = client.ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: "shop", Apps: []string{name}})
		mustBe(t, err, errs.Invalid, "app name")
		_, err = client.GetProject(ctx, &projectpb.GetProjectRequest{Name: name})
		mustBe(t, err, errs.Invalid, "project name")
		_, err = client.DestroyProject(ctx, &projectpb.DestroyProjectRequest{Name: name})
		mustBe(t, err, errs.Invalid, "project name")
	}
	_, err := client.ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: "shop", Apps: make([]string, 300)})
	mustBe(t, err, errs.Exhausted, "256")
}

func TestMissingProjectsAreNamed(t *testing.T) {
	client, ctx := start(t), t.Context()
	_, err := client.DestroyProject(ctx, &projectpb.DestroyProjectRequest{Name: "shop"})
	mustBe(t, err, errs.NotFound, "shop")
	_, err = client.ListWorkspaces(ctx, &projectpb.ListWorkspacesRequest{Project: "shop"})
	mustBe(t, err, errs.NotFound, "shop")
	if list, err := client.ListWorkspaces(ctx, &projectpb.ListWorkspacesRequest{}); err != nil || len(list.GetWorkspaces()) != 0 {
		t.Errorf("workspaces of nothing: %v %v", list, err)
	}
}
