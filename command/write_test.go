package command

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/projectpb"
	"waypoint/api/versionpb"
	"waypoint/errs"
)

const configSet = "waypoint.config.Config/Set"

func TestConfigSetTakesValuesFromArgumentsFilesAndStandardInput(t *testing.T) {
	w := newWorld(t)
	w.file("value.txt", "from a file\n\n")
	w.Stdin = strings.NewReader("from stdin\r\n")
	w.cluster.answer(configSet, &configpb.SetResponse{Variables: []*configpb.Variable{{Name: "A", Scope: &configpb.Scope{}, Version: 1}}})
	w.prints("A is set for all projects (version 1)\n", "config", "set", "-global", "A=x=y", "B=@value.txt", "C=@-", "D=@@home", "E=")
	want := map[string]string{"A": "x=y", "B": "from a file\n", "C": "from stdin", "D": "@home", "E": ""}
	changes := w.cluster.request(configSet).(*configpb.SetRequest).GetChanges()
	if len(changes) != len(want) {
		t.Fatalf("%d changes, want %d", len(changes), len(want))
	}
	for _, change := range changes {
		if change.GetValue() != want[change.GetName()] || change.IfVersion != nil || change.GetDelete() {
			t.Errorf("change %v, want the value %q", change, want[change.GetName()])
		}
	}
}

func TestConfigScopes(t *testing.T) {
	w := newWorld(t)
	w.project("shop", "web")
	w.cluster.answer(configSet, &configpb.SetResponse{})
	for args, want := range map[string]*configpb.Scope{
		"":                            {Project: "shop", App: "web"},
		"-project=shop":               {Project: "shop"},
		"-p=./":                       {Project: "shop"},
		"-app=web":                    {Project: "shop", App: "web"},
		"-w=staging":                  {Project: "shop", App: "web", Workspace: "staging"},
		"-global":                     {},
		"-global -workspace=staging":  {Workspace: "staging"},
		"-project=other -app=api":     {Project: "other", App: "api"},
		"-app=web -workspace=staging": {Project: "shop", App: "web", Workspace: "staging"},
	} {
		if code, _, stderr := w.run(append(strings.Fields("config set "+args), "A=1")...); code != 0 {
			t.Errorf("%s: %s", args, stderr)
			continue
		}
		if got := w.cluster.request(configSet).(*configpb.SetRequest).GetChanges()[0].GetScope(); !proto.Equal(got, want) {
			t.Errorf("config set %s is for %v, want %v", args, got, want)
		}
	}
	w.project("shop", "web", "worker")
	w.run("config", "set", "A=1")
	if got := w.cluster.request(configSet).(*configpb.SetRequest).GetChanges()[0].GetScope(); !proto.Equal(got, &configpb.Scope{Project: "shop"}) {
		t.Errorf("in a project of two apps it is for %v", got)
	}
	w.fails(codeUsage, "-global goes with neither", "config", "set", "-global", "-app=web", "A=1")
	w.fails(codeUsage, "is not NAME=VALUE", "config", "set", "A")
	w.fails(codeFailed, "read the value", "config", "set", "A=@missing")
}

func TestConfigChangesAreConditionalOnAVersion(t *testing.T) {
	w := newWorld(t)
	w.cluster.answer(configSet, &configpb.SetResponse{})
	w.cluster.answer("waypoint.config.Config/Get", &configpb.GetResponse{Variables: []*configpb.Variable{{Name: "A"}}})
	for _, verb := range []string{"set", "delete"} {
		name := map[string]string{"set": "A=1", "delete": "A"}[verb]
		for _, version := range []uint64{0, 3} {
			flag := map[uint64]string{0: "-if-version=0", 3: "-if-version=3"}[version]
			w.run("config", verb, "-global", flag, name)
			change := w.cluster.request(configSet).(*configpb.SetRequest).GetChanges()[0]
			if change.IfVersion == nil || change.GetIfVersion() != version || change.GetDelete() != (verb == "delete") {
				t.Errorf("config %s %s: %v", verb, flag, change)
			}
		}
	}
	w.prints("A is deleted for all projects\n", "config", "delete", "-global", "A")
	w.cluster.answer("waypoint.config.Config/Get", &configpb.GetResponse{})
	w.prints("A was not set for all projects\n", "config", "delete", "-global", "A")
	w.cluster.refuse(configSet, errs.Conflict, "A is at version 4, not 3")
	w.fails(codeFailed, "change A: A is at version 4, not 3", "config", "set", "-global", "-if-version=3", "A=1")
}

func TestEffectiveConfigIsOfOneApp(t *testing.T) {
	w := newWorld(t)
	w.project("shop", "web", "worker")
	w.cluster.answer("waypoint.config.Config/Get", &configpb.GetResponse{})
	w.fails(codeUsage, "several apps: name one of web, worker", "config", "get", "-effective")
	w.run("config", "get", "-effective", "-app=web", "A")
	want := &configpb.GetRequest{Scope: &configpb.Scope{Project: "shop", App: "web", Workspace: "default"}, Name: "A", Effective: true}
	if got := w.cluster.request("waypoint.config.Config/Get"); !proto.Equal(got, want) {
		t.Errorf("asked for %v, want %v", got, want)
	}
}

func TestProjectCommands(t *testing.T) {
	w := newWorld(t)
	shop := &projectpb.Project{Name: "shop", Version: 2, Apps: []*projectpb.App{{Name: "web"}}, CreatedAt: ago(time.Hour), UpdatedAt: ago(time.Minute)}
	w.cluster.answer(projects+"ApplyProject", &projectpb.ApplyProjectResponse{Project: shop})
	w.cluster.answer(projects+"GetProject", &projectpb.GetProjectResponse{Project: shop})
	w.cluster.answer(projects+"DestroyProject", &projectpb.DestroyProjectResponse{})
	w.prints("Project shop is registered with app web.\n", "project", "apply", "shop", "-app=web", "-app", "b")
	want := &projectpb.ApplyProjectRequest{Name: "shop", Apps: []string{"web", "b"}}
	if got := w.cluster.request(projects + "ApplyProject"); !proto.Equal(got, want) {
		t.Errorf("applied %v, want %v", got, want)
	}
	w.prints("Name     shop\nVersion  2\nApps     web\nCreated  1h ago\nChanged  1m ago\n", "project", "inspect", "shop")
	w.fails(codeFailed, "name the project with -p", "project", "inspect")
	w.project("shop", "web", "worker")
	w.run("project", "apply")
	want = &projectpb.ApplyProjectRequest{Name: "shop", Apps: []string{"web", "worker"}}
	if got := w.cluster.request(projects + "ApplyProject"); !proto.Equal(got, want) {
		t.Errorf("applied %v, want %v", got, want)
	}
	w.prints("Project shop is forgotten.\n", "project", "destroy", "shop", "-auto-approve")
}

func TestDestructionIsAskedFor(t *testing.T) {
	w := newWorld(t)
	w.cluster.answer(projects+"DestroyProject", &projectpb.DestroyProjectResponse{})
	w.fails(codeUsage, "give -auto-approve", "project", "destroy", "shop")
	for answer, code := range map[string]int{"y\n": codeDone, "YES\n": codeDone, "n\n": codeFailed, "\n": codeFailed} {
		in := strings.NewReader(answer)
		w.Stdin = in
		w.terminal.of = map[any]bool{in: true}
		before := w.cluster.called(projects + "DestroyProject")
		got, _, stderr := w.run("project", "destroy", "shop")
		done := w.cluster.called(projects+"DestroyProject") - before
		if got != code || done != 1-code || !strings.Contains(stderr, "Forget project shop? [y/N]") {
			t.Errorf("answer %q: exit code %d, %d calls\n%s", answer, got, done, stderr)
		}
	}
}

func TestTokenTextAloneIsOnStandardOutput(t *testing.T) {
	w := newWorld(t)
	w.cluster.answer("waypoint.auth.Auth/CreateToken", &authpb.CreateTokenResponse{Text: "wp1_secret", Token: &authpb.Token{Id: idA, ExpiresAt: ago(-time.Hour)}})
	w.cluster.answer("waypoint.auth.Auth/RevokeToken", &authpb.RevokeTokenResponse{})
	w.cluster.answer("waypoint.cluster.Cluster/CreateJoinToken", &clusterpb.CreateJoinTokenResponse{Text: "wpj_secret", ExpiresAt: ago(-time.Hour)})
	w.prints("wp1_secret\n", "token", "create", "-kind=runner", "-subject=r1", "-lifetime=1h")
	got := w.cluster.request("waypoint.auth.Auth/CreateToken").(*authpb.CreateTokenRequest)
	if got.GetKind() != authpb.TokenKind_TOKEN_KIND_RUNNER || got.GetSubject() != "r1" || got.GetLifetime().AsDuration() != time.Hour {
		t.Errorf("asked for %v", got)
	}
	if !strings.Contains(w.err.String(), "expires in 1h") {
		t.Errorf("standard error: %s", w.err)
	}
	w.prints("wpj_secret\n", "server", "join-token", "-lifetime=10m")
	w.prints("wp1_secret\n", "operator", "token", "recover", "-data-dir=n1")
	w.prints("Token "+idA+" is revoked.\n", "token", "revoke", idA)
}

func TestJobInspectAndCancel(t *testing.T) {
	w := newWorld(t)
	job := &jobpb.Job{Id: idA, Spec: &jobpb.Spec{Operation: jobpb.Operation_OPERATION_UP, Project: "shop", Workspace: "default", Folder: "/src"},
		State: jobpb.State_STATE_RUNNING, Attempt: 1, RunnerId: idB, CreatedAt: ago(time.Minute), AssignedAt: ago(time.Minute),
		Stages: []*jobpb.Stage{{Name: "build", App: "web", State: jobpb.StageState_STAGE_STATE_SUCCEEDED, StartedAt: ago(20 * time.Second), EndedAt: ago(10 * time.Second), Message: "out/web"}}}
	w.cluster.answer(jobs+"Get", &jobpb.GetResponse{Job: job})
	w.prints(`
ID         01JNA00000000000000000000A
Operation  up
Project    shop
Workspace  default
State      running
Folder     /src
Runner     01JNB00000000000000000000B
Attempt    1
Created    1m ago

STAGE  APP  STATE      TOOK   MESSAGE
build  web  succeeded  10.0s  out/web
`, "job", "inspect", idA)
	w.cluster.answer(jobs+"Cancel", &jobpb.CancelResponse{Job: job})
	w.prints("Job "+idA+" is told to stop.\n", "job", "cancel", idA)
	w.cluster.answer(jobs+"Cancel", &jobpb.CancelResponse{Job: &jobpb.Job{Id: idA, State: jobpb.State_STATE_CANCELED}})
	w.prints("Job "+idA+" is canceled.\n", "job", "cancel", idA)
}

func TestVersionAnswersWithoutAServer(t *testing.T) {
	w := newWorld(t)
	w.cluster.refuse("waypoint.version.Version/Get", errs.Unavailable, "nobody is there")
	code, stdout, _ := w.run("version")
	if code != 0 || !strings.HasPrefix(stdout, "waypoint  ") || !strings.Contains(stdout, "server    not known: ask the server: nobody is there\n") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	w.fails(codeFailed, "nobody is there", "version", "-json")
	w.cluster.answer("waypoint.version.Version/Get", &versionpb.GetResponse{NodeId: idA, Build: &versionpb.Build{
		Release: "9.9.9", Commit: "abc", Ranges: &versionpb.Ranges{Api: &versionpb.Range{Min: 1, Current: 2}}}})
	_, stdout, _ = w.run("version")
	if !strings.Contains(stdout, "server    9.9.9 (abc), protocols api=1-2, node "+idA+"\n") {
		t.Error(stdout)
	}
}

func TestOnlyOperationsNeedValuesOfVariables(t *testing.T) {
	w := newWorld(t)
	w.file("waypoint.hcl", "project = \"shop\"\nvariable \"tag\" {}\napp \"web\" {\n  config {\n    env = { TAG = var.tag }\n  }\n}\n")
	w.cluster.answer(deployments+"Status", &deploymentpb.StatusResponse{})
	w.prints("Nothing has been done yet; \"waypoint up\" builds, deploys and releases.\n", "status")
	w.cluster.answer("waypoint.config.Config/Get", &configpb.GetResponse{})
	w.prints("No variable is set for shop/web; \"waypoint config set NAME=VALUE\" sets one.\n", "config", "get")
	w.fails(codeFailed, `waypoint.hcl:2,16: Variable without a value`, "up")
	w.cluster.answer(projects+"ApplyProject", &projectpb.ApplyProjectResponse{Project: &projectpb.Project{Name: "shop", Apps: []*projectpb.App{{Name: "web"}}}})
	path := w.Dir + "/waypoint.hcl"
	w.prints(path+" is good: project shop with web.\n"+
		"Variable tag has no default: give operations a value with -var tag=..., a -var-file or WAYPOINT_VAR_tag.\n"+
		"Project shop is registered with app web. Next: waypoint up\n", "init")
	w.file("waypoint.hcl", "project = \"shop\"\nvariable \"tag\" {}\napp \"web\" {\n  config {\n    env = { TAG = var.tags }\n  }\n}\n")
	w.fails(codeFailed, "waypoint.hcl:5,22: Unsupported attribute", "init")
}
