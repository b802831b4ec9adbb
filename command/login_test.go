package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/errs"
)

// stranger is a world without any WAYPOINT_ variable.
func stranger(t *testing.T) (*world, string) {
	t.Helper()
	w := newWorld(t)
	dir := t.TempDir()
	w.Environ = []string{"XDG_CONFIG_HOME=" + dir}
	w.cluster.answer("waypoint.auth.Auth/WhoAmI", &authpb.WhoAmIResponse{Kind: "user", Subject: "admin"})
	w.cluster.answer("waypoint.cluster.Cluster/Servers", &clusterpb.ServersResponse{Addrs: []string{"b:9701", "c:9701"}})
	w.cluster.answer("waypoint.auth.Auth/ListTokens", &authpb.ListTokensResponse{})
	return w, filepath.Join(dir, "waypoint", "contexts")
}

func TestLoginMakesAndSelectsAContext(t *testing.T) {
	w, dir := stranger(t)
	w.prints("Logged in as user admin. Context \"prod\" is selected: a:9701, b:9701, c:9701\n",
		"login", "-addr=a:9701,b:9701", "-ca=sha256:aa", "-token=wp1_x", "-context=prod")
	raw, err := os.ReadFile(filepath.Join(dir, "prod.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"addrs": []any{"a:9701", "b:9701", "c:9701"}, "ca": "sha256:aa", "token": "wp1_x"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the context is %v, want %v", got, want)
	}
	w.run("token", "list")
	if got := w.targets[len(w.targets)-1]; !reflect.DeepEqual(got, Target{Addrs: []string{"a:9701", "b:9701", "c:9701"}, CA: "sha256:aa", Token: "wp1_x"}) {
		t.Errorf("the next command talks to %+v", got)
	}
}

func TestLoginGetsTheTokenWithoutShowingIt(t *testing.T) {
	w, _ := stranger(t)
	w.Stdin = strings.NewReader("wp1_piped\n")
	w.run("login", "-addr=a:9701", "-ca=sha256:aa")
	if got := w.targets[0].Token; got != "wp1_piped" {
		t.Errorf("from standard input: %q", got)
	}
	in := strings.NewReader("")
	w.Stdin, w.terminal.of, w.terminal.secret = in, map[any]bool{in: true}, "wp1_typed"
	_, _, stderr := w.run("login", "-addr=a:9701", "-ca=sha256:aa")
	if got := w.targets[len(w.targets)-1].Token; got != "wp1_typed" || !strings.HasPrefix(stderr, "Token: \n") {
		t.Errorf("from the terminal: %q\n%s", got, stderr)
	}
	w.Stdin, w.terminal.of = strings.NewReader("\n"), nil
	w.fails(codeUsage, "the token is missing", "login", "-addr=a:9701", "-ca=sha256:aa")
	w.fails(codeUsage, "-ca is missing", "login", "-addr=a:9701")
	w.fails(codeUsage, "-addr is missing", "login", "-context=none")
}

func TestLoginAloneRefreshesTheSelectedContext(t *testing.T) {
	w, _ := stranger(t)
	w.fails(codeUsage, "-addr is missing", "login")
	w.run("context", "create", "prod", "-addr=a:1", "-ca=sha256:aa", "-token=t1")
	w.run("context", "create", "test", "-addr=x:1", "-ca=sha256:ff", "-token=t2")
	w.prints("Logged in as user admin. Context \"prod\" is selected: a:1, b:9701, c:9701\n", "login")
	w.prints("Logged in as user admin. Context \"test\" is selected: x:1, b:9701, c:9701\n", "login", "-context=test", "-token=t3")
	w.run("token", "list")
	want := Target{Addrs: []string{"x:1", "b:9701", "c:9701"}, CA: "sha256:ff", Token: "t3"}
	if got := w.targets[len(w.targets)-1]; !reflect.DeepEqual(got, want) {
		t.Errorf("the next command talks to %+v, want %+v", got, want)
	}
}

func TestARefusedTokenIsToldWithItsOrigin(t *testing.T) {
	w, _ := stranger(t)
	w.cluster.refuse("waypoint.auth.Auth/ListTokens", errs.Unauthenticated, "the token is revoked")
	w.run("context", "create", "prod", "-addr=a:1", "-ca=sha256:aa", "-token=t1")
	w.fails(codeFailed, `list tokens: the token is revoked (the token is that of context "prod"; "waypoint login -token=..." replaces it)`, "token", "list")
	w.fails(codeFailed, "(the token is that of -token)", "token", "list", "-token=t2")
	w.Environ = append(w.Environ, "WAYPOINT_SERVER_TOKEN=t3")
	w.fails(codeFailed, "(the token is that of WAYPOINT_SERVER_TOKEN)", "token", "list")
	w.Environ = []string{"WAYPOINT_SERVER_ADDR=a:1", "WAYPOINT_SERVER_CA=sha256:aa"}
	w.fails(codeFailed, "(the token is missing: ", "token", "list")
}

func TestANewProjectFileHasAGoodName(t *testing.T) {
	w, _ := stranger(t)
	w.fails(codeUsage, "-name=Bad Name: a name must begin", "init", "-name=Bad Name")
	if _, err := os.Stat(filepath.Join(w.Dir, "waypoint.hcl")); !os.IsNotExist(err) {
		t.Errorf("a file was written: %v", err)
	}
	for folder, want := range map[string]string{"My App!": "my-app", "--": "app", "-" + strings.Repeat("x", 80): strings.Repeat("x", 64)} {
		if got := projectName(folder); got != want {
			t.Errorf("folder %q gives %q, want %q", folder, got, want)
		}
	}
}

func TestRefusedLoginMakesNoContext(t *testing.T) {
	w, dir := stranger(t)
	w.cluster.refuse("waypoint.auth.Auth/WhoAmI", errs.Unauthenticated, "the token has expired")
	w.fails(codeFailed, "log in: the cluster does not accept this token: the token has expired", "login", "-addr=a:9701", "-ca=sha256:aa", "-token=wp1_x")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("there is a folder of contexts: %v", err)
	}
	w.fails(codeUsage, "cannot name a context", "login", "-addr=a:9701", "-ca=sha256:aa", "-token=x", "-context=a/b")
}

func TestFlagsOverrideEnvironmentOverridesContext(t *testing.T) {
	w, _ := stranger(t)
	w.run("context", "create", "one", "-addr=one:1", "-ca=sha256:11", "-token=t1")
	w.run("context", "create", "two", "-addr=two:1,two:2", "-ca=sha256:22", "-token=t2")
	one := Target{Addrs: []string{"one:1"}, CA: "sha256:11", Token: "t1"}
	two := Target{Addrs: []string{"two:1", "two:2"}, CA: "sha256:22", Token: "t2"}
	for _, c := range []struct {
		environ, args string
		want          Target
	}{
		{"", "", one},
		{"", "-context=two", two},
		{"WAYPOINT_CONTEXT=two", "", two},
		{"WAYPOINT_CONTEXT=two", "-context=one", one},
		{"WAYPOINT_SERVER_TOKEN=env", "", Target{Addrs: one.Addrs, CA: one.CA, Token: "env"}},
		{"WAYPOINT_SERVER_TOKEN=env", "-token=flag", Target{Addrs: one.Addrs, CA: one.CA, Token: "flag"}},
		{"WAYPOINT_SERVER_TOKEN=env", "-context=two", two},
		{"WAYPOINT_SERVER_ADDR=e:1,e:2 WAYPOINT_SERVER_CA=sha256:ee", "", Target{Addrs: []string{"e:1", "e:2"}, CA: "sha256:ee", Token: "t1"}},
		{"WAYPOINT_SERVER_ADDR=e:1", "-addr=f:1 -ca=sha256:ff", Target{Addrs: []string{"f:1"}, CA: "sha256:ff", Token: "t1"}},
	} {
		w.Environ = append(w.Environ[:1:1], strings.Fields(c.environ)...)
		if code, _, stderr := w.run(append([]string{"token", "list"}, strings.Fields(c.args)...)...); code != 0 {
			t.Errorf("%s %s: %s", c.environ, c.args, stderr)
			continue
		}
		if got := w.targets[len(w.targets)-1]; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s waypoint token list %s talks to %+v, want %+v", c.environ, c.args, got, c.want)
		}
	}
	w.fails(codeFailed, `no context "three"`, "token", "list", "-context=three")
}

func TestWithoutAClusterTheErrorSaysHowToNameOne(t *testing.T) {
	w, _ := stranger(t)
	w.fails(codeFailed, "waypoint login", "token", "list")
	w.fails(codeFailed, "-ca=sha256:", "token", "list", "-addr=a:1")
	w.Environ = nil
	w.fails(codeFailed, "waypoint login", "token", "list")
}

func TestContextCommands(t *testing.T) {
	w, dir := stranger(t)
	w.prints("There are no contexts; \"waypoint login\" makes one.\n", "context", "list")
	w.fails(codeFailed, "no context is selected", "context", "inspect")
	w.prints("Context \"one\" is made.\n", "context", "create", "one", "-addr=a:1", "-ca=sha256:0123456789abcdef", "-token=t1")
	w.prints("Context \"two\" is made.\n", "context", "create", "two", "-addr=b:1", "-ca=@"+w.file("ca.pem", "-----BEGIN"))
	w.fails(codeFailed, `there is a context "two" already`, "context", "create", "two", "-addr=b:1", "-ca=sha256:00")
	w.prints(`
   NAME  ADDRESSES  CA
*  one   a:1        sha256:0123456789ab...
   two   b:1        PEM
`, "context", "list")
	w.prints("Context \"two\" is selected.\n", "context", "use", "two")
	w.prints("Name       two\nDefault    yes\nAddresses  b:1\nCA         -----BEGIN\nToken      no\nFile       "+dir+"/two.json\n", "context", "inspect")
	w.prints("Context \"two\" is deleted.\n", "context", "delete", "two")
	w.fails(codeFailed, `no context "two"`, "context", "use", "two")
	_, stdout, _ := w.run("context", "list", "-json")
	if !json.Valid([]byte(stdout)) || strings.Contains(stdout, "t1") {
		t.Errorf("context list -json: %s", stdout)
	}
}
