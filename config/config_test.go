package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waypoint/errs"
)

const good = `
project = "shop"

variable "greeting" { default = "hello" }
variable "copies"   { default = 2 }

app "web" {
  path = "web"
  config {
    env = {
      GREETING = "${var.greeting} from ${workspace.name}"
      COPIES   = var.copies
    }
  }
  build {
    use "exec" { command = ["make", path.app] }
    registry {
      use "noop" {}
    }
    hook {
      when       = "before"
      command    = ["echo", project.name]
      on_failure = "continue"
    }
    hook {
      when    = "after"
      command = ["true"]
    }
  }
  deploy {
    use "local" {
      command   = [artifact.path, app.name]
      instances = var.copies
    }
  }
  workspace "staging" {
    config {
      env = { COPIES = "one" }
    }
    deploy {
      use "noop" {}
    }
  }
}

app "worker" {}
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string, vars map[string]string, workspace string) *Project {
	t.Helper()
	p, err := LoadProject(write(t, text), vars, workspace)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProjectFileIsEvaluated(t *testing.T) {
	p := load(t, good, map[string]string{"copies": "3"}, "")
	if p.Name != "shop" || p.Workspace != "default" || strings.Join(p.Names(), " ") != "web worker" {
		t.Fatalf("project is %+v", p)
	}
	web := p.App("web")
	if web.Dir != filepath.Join(p.Dir, "web") {
		t.Errorf("app's folder is %s", web.Dir)
	}
	if web.Env["GREETING"] != "hello from default" || web.Env["COPIES"] != "3" {
		t.Errorf("env is %v", web.Env)
	}
	if web.Registry == nil || web.Registry.Use.Plugin != "noop" || web.Release != nil {
		t.Errorf("stages are wrong: %+v", web)
	}
	before := web.Build.HooksAt(Before)
	if len(before) != 1 || !before[0].Continue || before[0].Command[1] != "shop" || len(web.Build.HooksAt(After)) != 1 {
		t.Errorf("hooks are %+v", web.Build.Hooks)
	}
	var deploy struct {
		Command   []string `hcl:"command"`
		Instances int      `hcl:"instances"`
	}
	err := web.Deploy.Use.Decode(&deploy, map[string]map[string]string{"artifact": {"path": "/x"}})
	if err != nil || deploy.Instances != 3 || strings.Join(deploy.Command, " ") != "/x web" {
		t.Errorf("deploy is %+v, %v", deploy, err)
	}
}

func TestWorkspaceOverridesVariablesAndStages(t *testing.T) {
	web := load(t, good, nil, "staging").App("web")
	if web.Env["GREETING"] != "hello from staging" || web.Env["COPIES"] != "one" {
		t.Errorf("env is %v", web.Env)
	}
	if web.Deploy.Use.Plugin != "noop" || web.Build.Use.Plugin != "exec" {
		t.Error("deploy must be overridden and build must not")
	}
}

func TestPluginBodyFaultsHaveTheirPlace(t *testing.T) {
	web := load(t, good, nil, "").App("web")
	err := web.Build.Use.Decode(&struct{}{}, nil)
	if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "waypoint.hcl:16,18: Unsupported argument") {
		t.Errorf("error is %v", err)
	}
}

func TestFaultsPointAtLineAndColumn(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"syntax", "project = \"a\"\napp \"x\" {", "waypoint.hcl:2,9: Unclosed configuration block: "},
		{"no project", "app \"x\" {}", "waypoint.hcl:1,1: Missing required argument: The argument \"project\" is required"},
		{"unknown block", "project = \"a\"\nurl {}", "waypoint.hcl:2,1: Unsupported block type: "},
		{"unknown attribute", "project = \"a\"\napp \"x\" {\n  colour = 1\n}", "waypoint.hcl:3,3: Unsupported argument: "},
		{"unknown attribute in workspace", "project = \"a\"\napp \"x\" {\n  workspace \"w\" {\n    colour = 1\n  }\n}", "waypoint.hcl:4,5: Unsupported argument: "},
		{"undeclared reference", "project = \"a\"\napp \"x\" {\n  config {\n    env = { A = var.b }\n  }\n}", "waypoint.hcl:4,20: Unsupported attribute: "},
		{"hook side", "project = \"a\"\napp \"x\" {\n  deploy {\n    hook {\n      when = \"during\"\n      command = [\"a\"]\n    }\n  }\n}", "waypoint.hcl:5,14: Unknown side of a hook: "},
		{"hook command", "project = \"a\"\napp \"x\" {\n  deploy {\n    hook {\n      when = \"after\"\n      command = []\n    }\n  }\n}", "waypoint.hcl:6,17: Empty command: "},
		{"name", "project = \"a b\"", "waypoint.hcl:1,11: Invalid name: "},
		{"two apps", "project = \"a\"\napp \"x\" {}\napp \"x\" {}", "waypoint.hcl:3,9: Duplicate app: "},
		{"no value", "project = \"a\"\nvariable \"v\" {\n}", "Variable without a value: "},
		{"default of a wrong type", "project = \"a\"\nvariable \"v\" {\n  default = []\n}", "waypoint.hcl:3,13: Unsuitable default: "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := LoadProject(write(t, c.text), nil, "")
			if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestVariablesComeFromEnvironmentFilesAndFlags(t *testing.T) {
	path := write(t, good)
	file := filepath.Join(t.TempDir(), "v.hcl")
	if err := os.WriteFile(file, []byte("copies = 4\ngreeting = \"file\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"WAYPOINT_VAR_greeting=env", "WAYPOINT_VAR_other=x", "HOME=/"}
	vars, err := Variables(path, nil, nil, env)
	if err != nil || len(vars) != 1 || vars["greeting"] != "env" {
		t.Fatalf("from the environment: %v, %v", vars, err)
	}
	vars, err = Variables(path, []string{"greeting=flag=1"}, []string{file}, env)
	if err != nil || vars["greeting"] != "flag=1" || vars["copies"] != "4" {
		t.Fatalf("from all: %v, %v", vars, err)
	}
	if _, err := Variables(path, []string{"novalue"}, nil, nil); !errs.Is(err, errs.Invalid) {
		t.Errorf("a flag without a value: %v", err)
	}
	if _, err := LoadProject(path, map[string]string{"other": "x"}, ""); !errs.Is(err, errs.Invalid) {
		t.Errorf("an undeclared variable: %v", err)
	}
	if _, err := LoadProject(path, map[string]string{"copies": "many"}, ""); !errs.Is(err, errs.Invalid) {
		t.Errorf("text for a number: %v", err)
	}
}

func TestProjectFileIsFoundUpward(t *testing.T) {
	path := write(t, good)
	deep := filepath.Join(filepath.Dir(path), "a", "b")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	found, err := FindProject(deep)
	if err != nil || found != path {
		t.Errorf("found %s, %v", found, err)
	}
	if _, err := FindProject(t.TempDir()); !errs.Is(err, errs.NotFound) {
		t.Errorf("without a file: %v", err)
	}
}

func TestTemplateIsAValidProject(t *testing.T) {
	p := load(t, Template("shop", "web"), map[string]string{"greeting": "hi"}, "staging")
	if p.Name != "shop" || p.App("web") == nil || p.App("web").Env["GREETING"] != "hi" {
		t.Errorf("project is %+v", p)
	}
}

func TestExampleIsAValidProject(t *testing.T) {
	p, err := LoadProject(filepath.Join("..", "examples", "hello", FileName), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Command   []string `hcl:"command"`
		Instances int      `hcl:"instances"`
	}
	err = p.App("web").Deploy.Use.Decode(&body, map[string]map[string]string{"artifact": {"path": "/x"}})
	if err != nil || body.Instances != 2 {
		t.Errorf("deploy is %+v, %v", body, err)
	}
}
