package execbuild

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"waypoint/errs"
	"waypoint/plugin"
)

// body stands in for the project file.
type body Body

func (b body) Decode(target any, _ map[string]map[string]string) error {
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, target)
}

func build(t *testing.T, b body) (*plugin.Artifact, string, string, error) {
	t.Helper()
	var out bytes.Buffer
	dir := t.TempDir()
	artifact, err := Builder{}.Build(context.Background(), &plugin.BuildRequest{
		App: plugin.App{Name: "web", Dir: dir}, Body: b, Output: &out,
	})
	return artifact, out.String(), dir, err
}

func TestOutputIsAnAbsolutePath(t *testing.T) {
	artifact, out, dir, err := build(t, body{
		Command: []string{"sh", "-c", "echo building; echo \"$WHAT\" >made"}, Env: map[string]string{"WHAT": "it"}, Output: "made",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, "made")
	if artifact.Values["path"] != want || !artifact.HostBound {
		t.Errorf("artifact is %+v", artifact)
	}
	if made, _ := os.ReadFile(want); string(made) != "it\n" {
		t.Errorf("made %q", made)
	}
	if !bytes.Contains([]byte(out), []byte("\nbuilding\n")) {
		t.Errorf("output is %q", out)
	}
}

func TestNameIsTakenAsItIs(t *testing.T) {
	artifact, _, _, err := build(t, body{Command: []string{"true"}, Name: "example/web:3"})
	if err != nil || artifact.Values["name"] != "example/web:3" || artifact.HostBound {
		t.Errorf("artifact is %+v, %v", artifact, err)
	}
}

func TestBuildFailures(t *testing.T) {
	for name, b := range map[string]body{
		"command fails":      {Command: []string{"false"}},
		"no such command":    {Command: []string{"/does/not/exist"}},
		"output not there":   {Command: []string{"true"}, Output: "made"},
		"output and name":    {Command: []string{"true"}, Output: "a", Name: "b"},
		"command of nothing": {},
	} {
		if _, _, _, err := build(t, b); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCommandDoesNotSeeTheUsersToken(t *testing.T) {
	t.Setenv("WAYPOINT_SERVER_TOKEN", "secret")
	_, out, _, err := build(t, body{Command: []string{"env"}})
	if err != nil || bytes.Contains([]byte(out), []byte("secret")) {
		t.Errorf("output is %q, %v", out, err)
	}
}
