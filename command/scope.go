package command

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/posener/complete"

	"waypoint/api/deploymentpb"
	"waypoint/config"
	"waypoint/errs"
)

// scope holds the flags that say which project, app and workspace a command is
// about.
type scope struct {
	project   string
	app       string
	workspace string
	vars      []string
	varFiles  []string
}

// place is what a scope has come to.
type place struct {
	project   string
	app       string
	workspace string
	file      *config.Outline // nil if the project was named and its file is not here
}

func (f *flags) scope(appUsage, workspaceUsage string) *scope {
	s := &scope{}
	f.projectFlag(&s.project)
	f.String(&s.app, "app", "", complete.PredictAnything, appUsage)
	f.String(&s.workspace, "workspace", "", complete.PredictAnything, workspaceUsage)
	f.Alias("w", "workspace")
	return s
}

func (f *flags) projectFlag(p *string) {
	f.String(p, "project", "", complete.PredictDirs("*"), "the `project`: its name, or with a slash in it the path of its folder or file; default: the file waypoint.hcl in this folder or the nearest above it")
	f.Alias("p", "project")
}

// target is for commands that work on one place: without a project there is
// nothing to do, and the workspace is "default" unless named.
func (s *scope) target(env *Env) (*place, error) {
	at, err := s.find(env)
	if err != nil {
		return nil, err
	}
	if at.workspace == "" {
		at.workspace = config.DefaultWorkspace
	}
	if at.app != "" && at.file != nil && !at.file.Has(at.app) {
		return nil, usagef("project %s has no app %q; it has %s", at.project, at.app, strings.Join(at.file.Apps, ", "))
	}
	return at, nil
}

// filter is for lists: outside of a project's folder it matches everything.
func (s *scope) filter(env *Env) (*deploymentpb.AppRef, error) {
	at, err := s.find(env)
	switch {
	case err == nil:
		return at.ref(), nil
	case errs.Is(err, errs.NotFound) && s.project == "" && s.app == "":
		return &deploymentpb.AppRef{Workspace: s.workspace}, nil
	default:
		return nil, err
	}
}

// find reads the project file, unless the project is named. The file is not
// evaluated: only operations need values for its variables.
func (s *scope) find(env *Env) (*place, error) {
	from, named := env.Dir, false
	switch {
	case strings.ContainsRune(s.project, filepath.Separator) || s.project == "." || s.project == "..":
		from = env.path(s.project)
	case s.project != "":
		named = true
	}
	file, err := outline(from)
	if named {
		if err != nil || file.Name != s.project {
			file = nil
		}
		return &place{project: s.project, app: s.app, workspace: s.workspace, file: file}, nil
	}
	if errs.Is(err, errs.NotFound) && s.project == "" {
		return nil, errs.New(errs.NotFound, "%w; or name the project with -p", err)
	}
	if err != nil {
		return nil, err
	}
	return &place{project: file.Name, app: s.app, workspace: s.workspace, file: file}, nil
}

// outline reads the project file at a path, or in a folder or above it.
func outline(from string) (*config.Outline, error) {
	info, err := os.Stat(from)
	if err != nil {
		return nil, errs.New(errs.NotFound, "find the project: %w", err)
	}
	path := from
	if info.IsDir() {
		if path, err = config.FindProject(from); err != nil {
			return nil, err
		}
	}
	return config.LoadOutline(path)
}

// values are the values of the project file's variables.
func (s *scope) values(env *Env, path string) (map[string]string, error) {
	files := make([]string, len(s.varFiles))
	for i, file := range s.varFiles {
		files[i] = env.path(file)
	}
	return config.Variables(path, s.vars, files, env.Environ)
}

func (p *place) ref() *deploymentpb.AppRef {
	return &deploymentpb.AppRef{Project: p.project, App: p.app, Workspace: p.workspace}
}

// oneApp is the app that a command is about which works on one app only: the
// one named, or the only one of the project.
func (p *place) oneApp() (*deploymentpb.AppRef, error) {
	ref := p.ref()
	if ref.App != "" {
		return ref, nil
	}
	if p.file == nil {
		return nil, usagef("name the app with -app")
	}
	if len(p.file.Apps) != 1 {
		return nil, usagef("project %s has several apps: name one of %s with -app", p.project, strings.Join(p.file.Apps, ", "))
	}
	ref.App = p.file.Apps[0]
	return ref, nil
}
