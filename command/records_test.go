package command

import (
	"encoding/json"
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
	"waypoint/api/runnerpb"
	"waypoint/api/versionpb"
	"waypoint/errs"
)

const (
	deployments = "waypoint.deployment.DeploymentService/"
	jobs        = "waypoint.job.JobService/"
	projects    = "waypoint.project.ProjectService/"
	idA         = "01JNA00000000000000000000A"
	idB         = "01JNB00000000000000000000B"
)

// web is the app that the canned answers are about.
func web() *deploymentpb.AppRef {
	return &deploymentpb.AppRef{Project: "shop", App: "web", Workspace: "default"}
}

type listing struct {
	args   string
	method string
	reply  proto.Message
	want   string
	empty  proto.Message // a reply with nothing in it
	hint   string        // what is printed then
}

func listings() []listing {
	return append(recordListings(), clusterListings()...)
}

func recordListings() []listing {
	return []listing{
		{"project list", projects + "ListProjects", &projectpb.ListProjectsResponse{Projects: []*projectpb.Project{
			{Name: "shop", Version: 2, Apps: []*projectpb.App{{Name: "web"}, {Name: "worker"}}, CreatedAt: ago(50 * time.Hour), UpdatedAt: ago(3 * time.Minute)},
			{Name: "x", CreatedAt: ago(time.Second)},
		}}, `
NAME  APPS         CREATED  CHANGED
shop  web, worker  2d ago   3m ago
x     -            1s ago   -
`, &projectpb.ListProjectsResponse{}, "There are no projects"},
		{"workspace list", projects + "ListWorkspaces", &projectpb.ListWorkspacesResponse{Workspaces: []*projectpb.Workspace{
			{Name: "default", Projects: []string{"shop", "x"}, ActiveAt: ago(time.Hour)},
		}}, `
NAME     PROJECTS  ACTIVE
default  shop, x   1h ago
`, &projectpb.ListWorkspacesResponse{}, "No workspace has been used"},
		{"build list", deployments + "ListBuilds", &deploymentpb.ListBuildsResponse{Builds: []*deploymentpb.Build{
			{Id: idB, App: web(), Sequence: 2, Plugin: "exec", Status: deploymentpb.Status_STATUS_FAILED, Error: "make: no rule\nto make", CreatedAt: ago(time.Minute)},
			{Id: idA, App: web(), Sequence: 1, Plugin: "exec", Status: deploymentpb.Status_STATUS_SUCCEEDED, ArtifactId: idA, CreatedAt: ago(time.Hour)},
		}}, `
BUILD  APP       WORKSPACE  PLUGIN  STATUS     STARTED  ARTIFACT                    ERROR
#2     shop/web  default    exec    failed     1m ago   -                           make: no rule to make
#1     shop/web  default    exec    succeeded  1h ago   01JNA00000000000000000000A  -
`, &deploymentpb.ListBuildsResponse{}, "There are no builds"},
		{"deployment list", deployments + "ListDeployments", &deploymentpb.ListDeploymentsResponse{Deployments: []*deploymentpb.Deployment{
			{Id: idB, App: web(), Sequence: 3, Plugin: "local", Status: deploymentpb.Status_STATUS_RUNNING, Instances: 2, CreatedAt: ago(0)},
		}}, `
VERSION  APP       WORKSPACE  PLATFORM  STATUS   STARTED   INSTANCES  ID                          ERROR
v3       shop/web  default    local     running  just now  2          01JNB00000000000000000000B  -
`, &deploymentpb.ListDeploymentsResponse{}, "There are no deployments"},
		{"release list", deployments + "ListReleases", &deploymentpb.ListReleasesResponse{Releases: []*deploymentpb.Release{
			{Id: idB, App: web(), Sequence: 1, DeploymentSequence: 3, Status: deploymentpb.Status_STATUS_SUCCEEDED, Url: "http://x", CreatedAt: ago(time.Minute)},
		}}, `
RELEASE  APP       WORKSPACE  OF  STATUS     STARTED  URL       ERROR
#1       shop/web  default    v3  succeeded  1m ago   http://x  -
`, &deploymentpb.ListReleasesResponse{}, "There are no releases"},
		{"instance list", deployments + "ListInstances", &deploymentpb.ListInstancesResponse{Instances: []*deploymentpb.Instance{
			{Id: idA, App: web(), DeploymentSequence: 3, State: deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED, NodeId: idB, Host: "h", ChildStarts: 1, StartedAt: ago(time.Minute), ChildConfig: []byte("a")},
			{Id: idA, App: web(), DeploymentSequence: 3, State: deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED, NodeId: idB, Host: "h", ChildStarts: 1, StartedAt: ago(time.Minute), RestartWanted: []byte("b")},
			{Id: idA, App: web(), DeploymentSequence: 3, State: deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED, NodeId: idB, Host: "h", ChildStarts: 1, StartedAt: ago(time.Minute), RestartWanted: []byte("b"), Turn: &deploymentpb.RestartTurn{Starts: 1}},
			{Id: idB, App: web(), DeploymentSequence: 3, State: deploymentpb.InstanceState_INSTANCE_STATE_EXITED, ExitCode: 137, Host: "h", ChildStarts: 2, StartedAt: ago(time.Minute)},
		}}, `
ID                          APP       WORKSPACE  VERSION  STATE         NODE  HOST  STARTS  CONFIG         STARTED
01JNA00000000000000000000A  shop/web  default    v3       attached      n2    h     1       current        1m ago
01JNA00000000000000000000A  shop/web  default    v3       attached      n2    h     1       restart waits  1m ago
01JNA00000000000000000000A  shop/web  default    v3       attached      n2    h     1       restarting     1m ago
01JNB00000000000000000000B  shop/web  default    v3       exited (137)  -     h     2       -              1m ago
`, &deploymentpb.ListInstancesResponse{}, "There are no instances"},
		{"job list", jobs + "List", &jobpb.ListResponse{Jobs: []*jobpb.Job{
			{Id: idB, Spec: &jobpb.Spec{Operation: jobpb.Operation_OPERATION_UP, Project: "shop", Workspace: "default"}, State: jobpb.State_STATE_QUEUED, Waiting: "no runner has the label zone=a", CreatedAt: ago(time.Second)},
			{Id: idA, Spec: &jobpb.Spec{Operation: jobpb.Operation_OPERATION_BUILD, Project: "shop", App: "web", Workspace: "default"}, State: jobpb.State_STATE_SUCCEEDED, CreatedAt: ago(time.Hour), AssignedAt: ago(time.Minute), EndedAt: ago(50 * time.Second)},
		}}, `
ID                          OPERATION  APP       WORKSPACE  STATE      CREATED  TOOK   NOTE
01JNB00000000000000000000B  up         shop      default    queued     1s ago   -      no runner has the label zone=a
01JNA00000000000000000000A  build      shop/web  default    succeeded  1h ago   10.0s  -
`, &jobpb.ListResponse{}, "There are no jobs"},
		{"status", deployments + "Status", &deploymentpb.StatusResponse{Apps: []*deploymentpb.AppStatus{{
			App: web(), Deployment: &deploymentpb.Deployment{Sequence: 3, Status: deploymentpb.Status_STATUS_SUCCEEDED, CreatedAt: ago(time.Minute)},
			Build: &deploymentpb.Build{}, Released: &deploymentpb.Deployment{Sequence: 2}, Release: &deploymentpb.Release{Url: "http://x"},
			Instances: []*deploymentpb.Instance{{State: deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED}, {State: deploymentpb.InstanceState_INSTANCE_STATE_LOST},
				{DeploymentId: idB, State: deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED}},
			Summary: "1 of 2 instances attached",
		}, {
			App: &deploymentpb.AppRef{Project: "shop", App: "worker", Workspace: "default"}, Summary: "nothing deployed",
		}}}, `
   APP          WORKSPACE  DEPLOYMENT  RELEASED  INSTANCES   CHANGED  STATUS
!  shop/web     default    v3          v2        1 +1 older  1m ago   1 of 2 instances attached
   shop/worker  default    -           -         0           -        nothing deployed

shop/web: http://x
`, &deploymentpb.StatusResponse{}, "Nothing has been done yet"},
	}
}

func clusterListings() []listing {
	return []listing{
		{"operator members", "waypoint.cluster.Cluster/Members", &clusterpb.MembersResponse{Members: []*clusterpb.Member{
			{Node: &clusterpb.Node{Id: idA, Name: "n1", Addr: "10.0.0.1:9701", Build: &versionpb.Build{Release: "0.1.0"}, BootedAt: ago(time.Hour)}, Gossip: "alive", Suffrage: "voter", Leader: true},
			{Node: &clusterpb.Node{Id: idB, Name: "n2", Addr: "10.0.0.2:9701", Build: &versionpb.Build{Release: "0.1.0"}, BootedAt: ago(time.Minute)}, Gossip: "dead", Suffrage: "nonvoter"},
		}}, `
   NAME  ADDRESS        GOSSIP  SUFFRAGE  RELEASE  BOOTED  ID
*  n1    10.0.0.1:9701  alive   voter     0.1.0    1h ago  01JNA00000000000000000000A
   n2    10.0.0.2:9701  dead    nonvoter  0.1.0    1m ago  01JNB00000000000000000000B
`, &clusterpb.MembersResponse{}, "no members"},
		{"operator raft list-peers", "waypoint.cluster.Cluster/RaftPeers", &clusterpb.RaftPeersResponse{Peers: []*clusterpb.Peer{
			{Id: idA, Name: "n1", Addr: "10.0.0.1:9701", Suffrage: "voter", Leader: true},
			{Id: idB, Name: "n2", Addr: "10.0.0.2:9701", Suffrage: "voter", LastContactMs: 12},
		}, Index: 7, Term: 2, CommitIndex: 90, AppliedIndex: 89}, `
   NAME  ADDRESS        SUFFRAGE  CONTACT  ID
*  n1    10.0.0.1:9701  voter     -        01JNA00000000000000000000A
   n2    10.0.0.2:9701  voter     12ms     01JNB00000000000000000000B

term 2, configuration at 7, committed 90, applied 89
`, nil, ""},
		{"runner list", "waypoint.runner.RunnerService/List", &runnerpb.ListResponse{Runners: []*runnerpb.Runner{
			{Id: idA, Name: "build-1", Host: "h", Labels: map[string]string{"zone": "a", "arch": "arm64"}, Slots: 2, State: runnerpb.State_STATE_ATTACHED, NodeId: idB, AttachedAt: ago(time.Minute)},
			{Id: idB, Name: "cli@h", Local: true, Host: "h", Slots: 1, State: runnerpb.State_STATE_DETACHED},
		}}, `
NAME     KIND    STATE     HOST  LABELS             SLOTS  NODE  ATTACHED  ID
build-1  remote  attached  h     arch=arm64,zone=a  2      n2    1m ago    01JNA00000000000000000000A
cli@h    local   detached  h     -                  1      -     -         01JNB00000000000000000000B
`, &runnerpb.ListResponse{}, "No runner is attached"},
		{"token list", "waypoint.auth.Auth/ListTokens", &authpb.ListTokensResponse{Tokens: []*authpb.Token{
			{Id: idA, Kind: authpb.TokenKind_TOKEN_KIND_USER, Subject: "alice", CreatedAt: ago(time.Hour), Description: "laptop"},
			{Id: idB, Kind: authpb.TokenKind_TOKEN_KIND_RUNNER, CreatedAt: ago(time.Hour), ExpiresAt: ago(-2 * time.Hour)},
			{Id: idB, Kind: authpb.TokenKind_TOKEN_KIND_JOIN, CreatedAt: ago(time.Hour), ExpiresAt: ago(time.Second)},
			{Id: idB, Kind: authpb.TokenKind_TOKEN_KIND_USER, CreatedAt: ago(time.Hour), RevokedAt: ago(time.Second)},
		}}, `
ID                          KIND    SUBJECT  STATE              CREATED  DESCRIPTION
01JNA00000000000000000000A  user    alice    valid              1h ago   laptop
01JNB00000000000000000000B  runner  -        valid, ends in 2h  1h ago   -
01JNB00000000000000000000B  join    -        expired            1h ago   -
01JNB00000000000000000000B  user    -        revoked            1h ago   -
`, &authpb.ListTokensResponse{}, "There are no valid tokens"},
		{"config get -global", "waypoint.config.Config/Get", &configpb.GetResponse{Variables: []*configpb.Variable{
			{Scope: &configpb.Scope{}, Name: "A", Value: "1", Version: 1, Origin: configpb.Origin_ORIGIN_SET, UpdatedAt: ago(time.Minute)},
			{Scope: &configpb.Scope{Project: "shop", App: "web", Workspace: "staging"}, Name: "A", Value: "two\nlines", Version: 4, Origin: configpb.Origin_ORIGIN_FILE, UpdatedAt: ago(time.Minute)},
			{Scope: &configpb.Scope{}, Name: "B", Value: "one line\n", Version: 1, File: &configpb.File{Path: "/etc/b", Mode: 0o600}},
			{Scope: &configpb.Scope{}, Name: "C", Value: "two\nlines\n", Version: 1, File: &configpb.File{Path: "/etc/c", Mode: 0o640, Owner: "app:app"}},
			{Scope: &configpb.Scope{}, Name: "D", Value: strings.Repeat("x", 2048), Version: 1, File: &configpb.File{Path: "/d", Mode: 0o4}},
		}}, `
NAME  VALUE      GOES TO              FOR                  FROM          VERSION  CHANGED
A     1          environment          all projects         set           1        1m ago
A     two lines  environment          shop/web in staging  waypoint.hcl  4        1m ago
B     one line   /etc/b 0600          all projects         set           1        -
C     (10 B)     /etc/c 0640 app:app  all projects         set           1        -
D     (2 KiB)    /d 0004              all projects         set           1        -
`, &configpb.GetResponse{}, "No variable is set for all projects"},
	}
}

func TestListsAreAlignedTables(t *testing.T) {
	for _, l := range listings() {
		w := newWorld(t)
		// Lists show nodes by name.
		w.cluster.answer("waypoint.cluster.Cluster/Members", &clusterpb.MembersResponse{Members: []*clusterpb.Member{{Node: &clusterpb.Node{Id: idB, Name: "n2"}}}})
		w.cluster.answer(l.method, l.reply)
		w.prints(l.want, strings.Fields(l.args)...)
	}
}

func TestListsInJSONAreTheReply(t *testing.T) {
	for _, l := range listings() {
		w := newWorld(t)
		w.cluster.answer(l.method, l.reply)
		code, stdout, stderr := w.run(append(strings.Fields(l.args), "-json")...)
		if code != 0 || !json.Valid([]byte(stdout)) || !strings.HasPrefix(stdout, "{\n  \"") {
			t.Errorf("waypoint %s -json: exit code %d\n%s%s", l.args, code, stdout, stderr)
		}
	}
}

func TestEmptyListsSayWhatToDo(t *testing.T) {
	for _, l := range listings() {
		if l.empty == nil {
			continue
		}
		w := newWorld(t)
		w.cluster.answer(l.method, l.empty)
		code, stdout, _ := w.run(strings.Fields(l.args)...)
		if code != 0 || !strings.Contains(stdout, l.hint) || strings.Count(stdout, "\n") != 1 {
			t.Errorf("waypoint %s: exit code %d\n%s", l.args, code, stdout)
		}
	}
}

func TestListsFailWithWhatTheClusterSays(t *testing.T) {
	for _, l := range listings() {
		w := newWorld(t)
		w.cluster.refuse(l.method, errs.Unavailable, "no leader; try again")
		w.fails(codeFailed, "no leader; try again", strings.Fields(l.args)...)
	}
}

func TestListsAreOfTheProjectOfTheFolder(t *testing.T) {
	w := newWorld(t)
	w.cluster.answer(deployments+"ListBuilds", &deploymentpb.ListBuildsResponse{})
	filter := func() *deploymentpb.AppRef {
		return w.cluster.request(deployments + "ListBuilds").(*deploymentpb.ListBuildsRequest).GetApp()
	}
	for _, c := range []struct {
		args []string
		want *deploymentpb.AppRef
	}{
		{nil, &deploymentpb.AppRef{}},
		{[]string{"-p=other", "-app=api"}, &deploymentpb.AppRef{Project: "other", App: "api"}},
		{[]string{"-w", "staging"}, &deploymentpb.AppRef{Workspace: "staging"}},
	} {
		w.run(append([]string{"build", "list"}, c.args...)...)
		if !proto.Equal(filter(), c.want) {
			t.Errorf("build list %v asks for %v, want %v", c.args, filter(), c.want)
		}
	}
	w.project("shop", "web", "worker")
	for _, args := range [][]string{{"build", "list"}, {"build", "list", "-p=" + w.Dir}, {"build", "list", "-p=./"}} {
		w.run(args...)
		if want := (&deploymentpb.AppRef{Project: "shop"}); !proto.Equal(filter(), want) {
			t.Errorf("waypoint %v asks for %v, want %v", args, filter(), want)
		}
	}
}

func TestDeploymentIsNamedByVersionOrID(t *testing.T) {
	w := newWorld(t)
	w.project("shop", "web")
	w.cluster.answer(deployments+"ListDeployments", &deploymentpb.ListDeploymentsResponse{Deployments: []*deploymentpb.Deployment{
		{Id: idB, App: web(), Sequence: 3}, {Id: idA, App: web(), Sequence: 2},
	}})
	w.cluster.answer(deployments+"ListInstances", &deploymentpb.ListInstancesResponse{})
	for text, want := range map[string]string{"v2": idA, "V3": idB, idA: idA} {
		w.run("instance", "list", "-deployment="+text)
		if got := w.cluster.request(deployments + "ListInstances").(*deploymentpb.ListInstancesRequest).GetDeploymentId(); got != want {
			t.Errorf("%s is taken for %s, want %s", text, got, want)
		}
	}
	w.fails(codeFailed, "no deployment v9 of shop", "instance", "list", "-deployment=v9")
}
