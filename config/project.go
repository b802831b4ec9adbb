package config

import (
	"os"
	"path/filepath"

	"waypoint/errs"
)

// FileName is the name of a project file.
const FileName = "waypoint.hcl"

// DefaultWorkspace is the workspace of who names none.
const DefaultWorkspace = "default"

// Project is a project file, evaluated for one workspace.
type Project struct {
	Path      string // absolute path of the file
	Dir       string // its folder
	Name      string
	Workspace string
	Apps      []*App // in the file's order
}

// App is one app of a project, with the overrides of the workspace applied.
type App struct {
	Name string
	Dir  string            // absolute; the project's folder unless the app sets path
	Env  map[string]string // the config block's variables; never nil
	// Files are the config block's variables that reach the app as files, sorted
	// by name. None of them is in Env too.
	Files  []File
	Policy *Policy // nil if the file says nothing about it

	// A stage that the file leaves out is nil.
	Build    *Stage
	Registry *Stage
	Deploy   *Stage
	Release  *Stage
}

// File is a variable that the app reads from a file.
type File struct {
	Name    string // of the variable
	Path    string
	Content string
	Mode    uint32 // 0: the cluster's default
	Owner   string // empty: that of the process that writes it
}

// Policy is what the config block says of taking up changes. What it leaves out
// is empty and stands for the default.
type Policy struct {
	Reload         string // a word of ReloadWords
	Signal         string
	MaxUnavailable string
}

// Stage is what an app does in one stage of an operation.
type Stage struct {
	Use   *Use
	Hooks []Hook
}

// Hook is a command that runs in the app's folder beside a stage.
type Hook struct {
	When     When
	Command  []string // at least one word
	Continue bool     // a failure of the command is no failure of the stage
}

// When says on which side of its stage a hook runs.
type When string

// The two sides of a stage.
const (
	Before When = "before"
	After  When = "after"
)

// App returns the app of that name, or nil.
func (p *Project) App(name string) *App {
	for _, app := range p.Apps {
		if app.Name == name {
			return app
		}
	}
	return nil
}

// Names returns the names of all apps in the file's order.
func (p *Project) Names() []string {
	names := make([]string, 0, len(p.Apps))
	for _, app := range p.Apps {
		names = append(names, app.Name)
	}
	return names
}

// HooksAt returns the hooks of one side of the stage. A nil stage has none.
func (s *Stage) HooksAt(when When) []Hook {
	if s == nil {
		return nil
	}
	var hooks []Hook
	for _, hook := range s.Hooks {
		if hook.When == when {
			hooks = append(hooks, hook)
		}
	}
	return hooks
}

// FindProject returns the path of the project file in dir or in the nearest
// folder above it. Without one the error is errs.NotFound.
func FindProject(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", errs.New(errs.Invalid, "find project file: %w", err)
	}
	for at := start; ; at = filepath.Dir(at) {
		path := filepath.Join(at, FileName)
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			return path, nil
		}
		if at == filepath.Dir(at) {
			return "", errs.New(errs.NotFound,
				"no %s in %s or any folder above it; `waypoint init` writes one", FileName, start)
		}
	}
}

// LoadProject reads the project file at path and evaluates it for a workspace
// (empty: DefaultWorkspace). vars are values of the file's variables as text;
// they win over defaults. What is wrong with the file is an errs.Invalid with
// one line per fault: file:line,column and what to do.
func LoadProject(path string, vars map[string]string, workspace string) (*Project, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, errs.New(errs.Invalid, "read project file: %w", err)
	}
	src, err := os.ReadFile(abs)
	if err != nil {
		return nil, errs.New(errs.NotFound, "read project file: %w", err)
	}
	if workspace == "" {
		workspace = DefaultWorkspace
	}
	l := loader{path: abs, dir: filepath.Dir(abs), workspace: workspace}
	project, diags := l.load(src, vars)
	if diags.HasErrors() {
		return nil, diagnosticsError(diags, filepath.Dir(abs))
	}
	return project, nil
}
