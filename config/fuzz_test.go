package config

import (
	"os"
	"path/filepath"
	"testing"

	"waypoint/errs"
)

// Any project file: it is refused as Invalid, or it holds what the cluster takes.
func FuzzLoadProject(f *testing.F) {
	f.Add([]byte(Template("shop", "web")))
	f.Add([]byte("project = \"p\"\nvariable \"v\" {\n  default = [1, {a = null}]\n}\napp \"a\" {\n  config {\n    env = { A = var.v }\n  }\n}\n"))
	f.Add([]byte("project = \"p\"\napp \"a\" {\n  config {\n    reload = \"signal\"\n    signal = \"HUP\"\n    file \"X\" {\n      path = \"/etc/x\"\n      content = \"${upper(\"x\")}\"\n      mode = \"0600\"\n    }\n  }\n}\n"))
	f.Add([]byte("project = \"p\"\napp \"a\" {\n  build {\n    use \"exec\" {}\n    hook {\n      when = \"before\"\n      command = [\"true\"]\n    }\n  }\n  workspace \"default\" {\n    deploy {\n      use \"local\" {}\n    }\n  }\n}\n"))
	f.Add([]byte("project = format(\"%s\", null)\n"))
	f.Add([]byte("project = <<X\n${[for x in [1]: x]}\nX\n"))
	path := filepath.Join(f.TempDir(), FileName)
	f.Fuzz(func(t *testing.T, src []byte) {
		if err := os.WriteFile(path, src, 0o600); err != nil {
			t.Fatal(err)
		}
		outline, outlineErr := LoadOutline(path)
		project, err := LoadProject(path, map[string]string{"v": "1"}, "")
		for _, err := range []error{outlineErr, err} {
			if err != nil && !errs.Is(err, errs.Invalid) {
				t.Fatalf("error of another kind: %v", err)
			}
		}
		if err != nil {
			return
		}
		if outlineErr != nil || outline.Name != project.Name || len(outline.Apps) != len(project.Apps) {
			t.Fatalf("the outline is another file's: %+v, %v", outline, outlineErr)
		}
		seen := map[string]bool{}
		for i, app := range project.Apps {
			if !ValidName(app.Name) || seen[app.Name] || outline.Apps[i] != app.Name || app.Env == nil || !filepath.IsAbs(app.Dir) {
				t.Fatalf("app %+v", app)
			}
			seen[app.Name] = true
			for _, file := range app.Files {
				if _, both := app.Env[file.Name]; both {
					t.Fatalf("%s is both a file and in the environment", file.Name)
				}
			}
			for _, stage := range []*Stage{app.Build, app.Registry, app.Deploy, app.Release} {
				for _, hook := range append(stage.HooksAt(Before), stage.HooksAt(After)...) {
					if len(hook.Command) == 0 {
						t.Fatal("a hook without a command")
					}
				}
			}
		}
	})
}
