package command

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"waypoint/agent"
	"waypoint/api/authpb"
	"waypoint/api/projectpb"
	"waypoint/errs"
	"waypoint/runner"
)

// serving makes "server run" run a fake node until it is interrupted, and
// keeps the configuration that it was given.
func (w *world) serving(info agent.Info) *agent.Config {
	got := &agent.Config{}
	w.NewNode = func(_ context.Context, cfg agent.Config, _ hclog.Logger) (Node, error) {
		*got = cfg
		node := &fakeNode{ready: make(chan struct{}), info: info}
		go func() {
			<-node.ready
			w.signals <- syscall.SIGTERM
		}()
		return node, nil
	}
	return got
}

func TestFirstNodePrintsHowToGoOn(t *testing.T) {
	w := newWorld(t)
	info := agent.Info{NodeID: idA, Name: "n1", Addr: "10.0.0.1:9701", CAFingerprint: "sha256:aa", ClusterID: idB, UserToken: "wp1_secret"}
	cfg := w.serving(info)
	data := filepath.Join(w.Dir, "n1")
	w.prints(`
Node n1 is ready.

  Node     `+idA+`
  Address  10.0.0.1:9701
  Cluster  `+idB+`
  CA       sha256:aa
  Data     `+data+`

This is a new cluster. Log in from another terminal with its first user token,
which is shown this once and kept nowhere:

  waypoint login -addr=10.0.0.1:9701 -ca=sha256:aa -token=wp1_secret

Then add nodes. Each needs a token of its own, and a name, if not its host's:

  waypoint server join-token
  waypoint server run -join-token=TOKEN -data-dir=FOLDER -name=NAME

Back up `+data+`/root.keyring in a safe place:
everything secret in the cluster is sealed with it.

Press Ctrl-C to stop this node.
`, "server", "run", "-bootstrap", "-data-dir=n1", "-name=n1", "-addr=10.0.0.1:9701", "-profile=wan", "-log-store=bolt")
	want := agent.Config{DataDir: data, Name: "n1", Addr: "10.0.0.1:9701", Profile: "wan", LogStore: "bolt", Bootstrap: true}
	if *cfg != want {
		t.Errorf("the node is %+v, want %+v", *cfg, want)
	}
	_, stdout, _ := w.run("server", "run", "-bootstrap", "-data-dir=n1", "-json")
	var got map[string]string
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got["userToken"] != "wp1_secret" || got["caFingerprint"] != "sha256:aa" {
		t.Errorf("with -json (%v): %s", err, stdout)
	}
}

func TestJoinTokenComesFromFlagFileOrEnvironment(t *testing.T) {
	w := newWorld(t)
	cfg := w.serving(agent.Info{Name: "n2"})
	w.file("join.txt", "wpj_file\n")
	w.Environ = append(w.Environ, "WAYPOINT_JOIN_TOKEN=wpj_env")
	for flag, want := range map[string]string{"-join-token=wpj_flag": "wpj_flag", "-join-token=@join.txt": "wpj_file", "-name=n2": "wpj_env", "-bootstrap": ""} {
		if code, _, stderr := w.run("server", "run", "-data-dir=n2", flag); code != 0 || cfg.JoinToken != want {
			t.Errorf("%s: exit code %d, token %q, want %q\n%s", flag, code, cfg.JoinToken, want, stderr)
		}
	}
	// A node that has joined ignores the environment.
	if err := os.MkdirAll(filepath.Join(w.Dir, "n2", "raft"), 0o700); err != nil {
		t.Fatal(err)
	}
	if w.run("server", "run", "-data-dir=n2"); cfg.JoinToken != "" {
		t.Errorf("a node with data joins with %q", cfg.JoinToken)
	}
}

func TestNodeThatCannotStartFails(t *testing.T) {
	w := newWorld(t)
	w.NewNode = func(context.Context, agent.Config, hclog.Logger) (Node, error) {
		return nil, errs.New(errs.Conflict, "n1 holds the data of a node already; leave -bootstrap out")
	}
	w.fails(codeFailed, "leave -bootstrap out", "server", "run", "-bootstrap", "-data-dir=n1")
	w.fails(codeUsage, "give only one of them", "server", "run", "-bootstrap", "-join-token=x", "-data-dir=n1")
	w.fails(codeUsage, "host:port", "server", "run", "-addr=9701", "-data-dir=n1")
}

func TestSecondSignalEndsTheProcessAtOnce(t *testing.T) {
	w := newWorld(t)
	w.NewNode = func(context.Context, agent.Config, hclog.Logger) (Node, error) {
		node := &fakeNode{ready: make(chan struct{})}
		go func() {
			<-node.ready
			w.signals <- syscall.SIGINT
			w.signals <- syscall.SIGINT
		}()
		return &stuckNode{fakeNode: node, until: w.exited}, nil
	}
	if code, _, stderr := w.run("server", "run", "-data-dir=n1"); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// stopsOnceItPrints sends SIGTERM after the first output.
func (w *world) stopsOnceItPrints() {
	w.out.wrote = make(chan struct{}, 9)
	go func() {
		<-w.out.wrote
		w.signals <- syscall.SIGTERM
	}()
}

func TestRunnerAgentRunsUntilItIsStopped(t *testing.T) {
	w := newWorld(t)
	w.cluster.answer("waypoint.auth.Auth/WhoAmI", &authpb.WhoAmIResponse{Kind: "runner"})
	r := newFakeRunner()
	cfg := r.with(w)
	w.stopsOnceItPrints()
	code, _, stderr := w.run("runner", "agent", "-name=r1", "-label=zone=a", "-label=arch=arm64", "-slots=4", "-entrypoint=/ep")
	if code != 0 {
		t.Fatal(stderr)
	}
	if cfg.Name != "r1" || cfg.Local || cfg.Slots != 4 || cfg.Labels["zone"] != "a" || cfg.Labels["arch"] != "arm64" || cfg.EntrypointBinary != "/ep" {
		t.Errorf("the runner is %+v", cfg)
	}
	if !strings.HasSuffix(w.out.String(), "Runner stopped.\n") {
		t.Error(w.out)
	}
}

func TestRunnerAgentOfAUserMakesAndRevokesATokenOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.cluster.answer("waypoint.auth.Auth/WhoAmI", &authpb.WhoAmIResponse{Kind: "user"})
	w.cluster.answer("waypoint.auth.Auth/CreateToken", &authpb.CreateTokenResponse{Text: "wp1_runner", Token: &authpb.Token{Id: idB}})
	w.cluster.answer("waypoint.auth.Auth/RevokeToken", &authpb.RevokeTokenResponse{})
	r := newFakeRunner()
	r.with(w)
	var target Target
	make := w.NewRunner
	w.NewRunner = func(t Target, cfg runner.Config) (Runner, error) {
		target = t
		return make(t, cfg)
	}
	w.stopsOnceItPrints()
	if code, _, stderr := w.run("runner", "agent"); code != 0 {
		t.Fatal(stderr)
	}
	if target.Token != "wp1_runner" || target.CA != "sha256:00" {
		t.Errorf("the runner connects as %+v", target)
	}
	made := w.cluster.request("waypoint.auth.Auth/CreateToken").(*authpb.CreateTokenRequest)
	if made.GetKind() != authpb.TokenKind_TOKEN_KIND_RUNNER || made.GetSubject() != "here" {
		t.Errorf("made %v", made)
	}
	if got := w.cluster.request("waypoint.auth.Auth/RevokeToken").(*authpb.RevokeTokenRequest).GetId(); got != idB {
		t.Errorf("revoked %s", got)
	}
}

func TestInitWritesChecksAndRegisters(t *testing.T) {
	w := newWorld(t)
	w.cluster.answer(projects+"ApplyProject", &projectpb.ApplyProjectResponse{Project: &projectpb.Project{Name: "shop", Apps: []*projectpb.App{{Name: "shop"}}}})
	path := filepath.Join(w.Dir, "waypoint.hcl")
	w.prints("Wrote "+path+"; it describes an app that runs as it is. Change it to yours.\n"+
		path+" is good: project shop with shop.\nProject shop is registered with app shop. Next: waypoint up\n", "init", "-name=shop")
	w.prints(path+" is good: project shop with shop.\nProject shop is registered with app shop. Next: waypoint up\n", "init")
	w.fails(codeUsage, "is of project shop, not other", "init", "-name=other")
	w.file("waypoint.hcl", "project = \"shop\"\nap \"web\" {}\n")
	w.fails(codeFailed, "waypoint.hcl:2,1", "init")
}

func TestInitWithoutAClusterStillWritesTheFile(t *testing.T) {
	w := newWorld(t)
	w.Environ = []string{"XDG_CONFIG_HOME=" + t.TempDir()}
	w.Dir = filepath.Join(w.Dir, "My App")
	if err := os.Mkdir(w.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := w.run("init")
	if code != 0 || !strings.Contains(stdout, "is good: project my-app with my-app.\nNo cluster is known") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}
