package config

import (
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// The blocks as they stand in the file. A struct without a remain field
// refuses what it does not name.
type (
	rootBlock struct {
		Project   hcl.Expression  `hcl:"project"`
		Variables []variableBlock `hcl:"variable,block"`
		Apps      []appHeader     `hcl:"app,block"`
	}
	variableBlock struct {
		Name        string         `hcl:"name,label"`
		Default     hcl.Expression `hcl:"default,optional"`
		Description string         `hcl:"description,optional"`
	}
	appHeader struct {
		Name string   `hcl:"name,label"`
		Body hcl.Body `hcl:",remain"`
	}
	appBlock struct {
		Path       string           `hcl:"path,optional"`
		Config     *configBlock     `hcl:"config,block"`
		Build      *buildBlock      `hcl:"build,block"`
		Deploy     *stageBlock      `hcl:"deploy,block"`
		Release    *stageBlock      `hcl:"release,block"`
		Workspaces []workspaceBlock `hcl:"workspace,block"`
	}
	workspaceBlock struct {
		Name    string       `hcl:"name,label"`
		Config  *configBlock `hcl:"config,block"`
		Build   *buildBlock  `hcl:"build,block"`
		Deploy  *stageBlock  `hcl:"deploy,block"`
		Release *stageBlock  `hcl:"release,block"`
	}
	buildBlock struct {
		Use      *useBlock   `hcl:"use,block"`
		Registry *stageBlock `hcl:"registry,block"`
		Hooks    []hookBlock `hcl:"hook,block"`
	}
	stageBlock struct {
		Use   *useBlock   `hcl:"use,block"`
		Hooks []hookBlock `hcl:"hook,block"`
	}
	useBlock struct {
		Plugin string   `hcl:"plugin,label"`
		Body   hcl.Body `hcl:",remain"`
	}
	hookBlock struct {
		When      hcl.Expression `hcl:"when"`
		Command   hcl.Expression `hcl:"command"`
		OnFailure hcl.Expression `hcl:"on_failure,optional"`
	}
)

// loader evaluates one file for one workspace.
type loader struct {
	path, dir, workspace string
}

func (l *loader) load(src []byte, vars map[string]string) (*Project, hcl.Diagnostics) {
	root, diags := parse(src, l.path)
	if diags.HasErrors() {
		return nil, diags
	}
	values, diags := variableValues(root.Variables, vars)
	name, d := root.name()
	if diags = append(diags, d...); diags.HasErrors() {
		return nil, diags
	}
	eval := &hcl.EvalContext{
		Variables: map[string]cty.Value{
			"var":       cty.ObjectVal(values),
			"path":      cty.ObjectVal(map[string]cty.Value{"project": cty.StringVal(l.dir)}),
			"project":   cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal(name)}),
			"workspace": cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal(l.workspace)}),
		},
		Functions: functions(),
	}
	project := &Project{Path: l.path, Dir: l.dir, Name: name, Workspace: l.workspace}
	for _, header := range root.Apps {
		app, d := l.app(header, eval)
		diags = append(diags, d...)
		if app == nil {
			continue
		}
		if project.App(app.Name) != nil {
			diags = append(diags, duplicateApp(header))
		}
		project.Apps = append(project.Apps, app)
	}
	return project, diags
}

// parse reads the file's outer blocks. Apps stay undecoded.
func parse(src []byte, path string) (*rootBlock, hcl.Diagnostics) {
	file, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	var root rootBlock
	diags = gohcl.DecodeBody(file.Body, nil, &root)
	return &root, diags
}

func (l *loader) app(header appHeader, eval *hcl.EvalContext) (*App, hcl.Diagnostics) {
	if diags := checkName(header.Name, "app", header.Body.MissingItemRange()); diags.HasErrors() {
		return nil, diags
	}
	dir, diags := l.appDir(header, eval)
	if diags.HasErrors() {
		return nil, diags
	}
	child := eval.NewChild()
	child.Variables = map[string]cty.Value{
		"app": cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal(header.Name)}),
		"path": cty.ObjectVal(map[string]cty.Value{
			"project": cty.StringVal(l.dir), "app": cty.StringVal(dir),
		}),
	}
	var block appBlock
	if diags = gohcl.DecodeBody(header.Body, child, &block); diags.HasErrors() {
		return nil, diags
	}
	app := &App{Name: header.Name, Dir: dir, Env: map[string]string{}}
	diags = app.applyPolicy(block.Config)
	diags = append(diags, app.apply(block.Config, block.Build, block.Deploy, block.Release, child)...)
	return app, append(diags, l.overrides(app, block.Workspaces, child)...)
}

// appDir evaluates the app's path before the rest, which may refer to it.
func (l *loader) appDir(header appHeader, eval *hcl.EvalContext) (string, hcl.Diagnostics) {
	var head struct {
		Path string   `hcl:"path,optional"`
		Rest hcl.Body `hcl:",remain"`
	}
	if diags := gohcl.DecodeBody(header.Body, eval, &head); diags.HasErrors() {
		return "", diags
	}
	if filepath.IsAbs(head.Path) {
		return filepath.Clean(head.Path), nil
	}
	return filepath.Join(l.dir, head.Path), nil
}

// overrides lays the workspace's block over the app. Every workspace block is
// checked, so that a fault does not wait for the day it is used.
func (l *loader) overrides(app *App, blocks []workspaceBlock, eval *hcl.EvalContext) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, block := range blocks {
		target := &App{Env: map[string]string{}}
		if block.Name == l.workspace {
			target = app
		}
		diags = append(diags, noPolicy(block.Config)...)
		diags = append(diags, target.apply(block.Config, block.Build, block.Deploy, block.Release, eval)...)
	}
	return diags
}

// apply lays blocks over the app: single variables of config, whole stages.
func (a *App) apply(config *configBlock, build *buildBlock, deploy, release *stageBlock, eval *hcl.EvalContext) hcl.Diagnostics {
	diags := a.applyConfig(config)
	set := func(stage **Stage, use *useBlock, hooks []hookBlock) {
		made, d := newStage(use, hooks, eval)
		*stage, diags = made, append(diags, d...)
	}
	if build != nil {
		set(&a.Build, build.Use, build.Hooks)
		a.Registry = nil
		if build.Registry != nil {
			set(&a.Registry, build.Registry.Use, build.Registry.Hooks)
		}
	}
	if deploy != nil {
		set(&a.Deploy, deploy.Use, deploy.Hooks)
	}
	if release != nil {
		set(&a.Release, release.Use, release.Hooks)
	}
	return diags
}

func newStage(use *useBlock, hooks []hookBlock, eval *hcl.EvalContext) (*Stage, hcl.Diagnostics) {
	stage := &Stage{}
	if use != nil {
		stage.Use = &Use{Plugin: use.Plugin, Range: use.Body.MissingItemRange(), body: use.Body, eval: eval}
	}
	var diags hcl.Diagnostics
	for _, block := range hooks {
		hook, d := newHook(block, eval)
		diags = append(diags, d...)
		stage.Hooks = append(stage.Hooks, hook)
	}
	return stage, diags
}

func newHook(block hookBlock, eval *hcl.EvalContext) (Hook, hcl.Diagnostics) {
	var (
		when, onFailure string
		command         []string
	)
	diags := require(block.When, "when", eval, &when)
	diags = append(diags, require(block.Command, "command", eval, &command)...)
	if v, d := block.OnFailure.Value(eval); d.HasErrors() || !v.IsNull() {
		diags = append(diags, gohcl.DecodeExpression(block.OnFailure, eval, &onFailure)...)
	}
	if diags.HasErrors() {
		return Hook{}, diags
	}
	if when != string(Before) && when != string(After) {
		diags = append(diags, fault(block.When.Range(), "Unknown side of a hook", `"when" must be "before" or "after".`))
	}
	if onFailure != "" && onFailure != "continue" && onFailure != "fail" {
		diags = append(diags, fault(block.OnFailure.Range(), "Unknown answer to a failure",
			`"on_failure" must be "continue" or "fail".`))
	}
	if len(command) == 0 || command[0] == "" {
		diags = append(diags, fault(block.Command.Range(), "Empty command", "A hook needs a command of at least one word."))
	}
	return Hook{When: When(when), Command: command, Continue: onFailure == "continue"}, diags
}

// require evaluates an attribute that was decoded as an expression, for the
// sake of its place; gohcl lets such an attribute be missing.
func require(expr hcl.Expression, name string, eval *hcl.EvalContext, target any) hcl.Diagnostics {
	if v, diags := expr.Value(eval); !diags.HasErrors() && v.IsNull() {
		return hcl.Diagnostics{fault(expr.Range(), "Missing required argument",
			"The argument "+quote(name)+" is required, but no definition was found.")}
	}
	return gohcl.DecodeExpression(expr, eval, target)
}

// ValidName tells whether the cluster takes the name for a project or an app.
func ValidName(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, notNameRune) && !strings.ContainsAny(name[:1], "_.-")
}

// NameRule is what a name must be like, for messages.
const NameRule = `must begin with a letter or digit and have at most 64 letters, digits, "_", "." and "-"`

// checkName applies the cluster's rule for names, so that a fault has a place.
func checkName(name, what string, at hcl.Range) hcl.Diagnostics {
	if ValidName(name) {
		return nil
	}
	return hcl.Diagnostics{fault(at, "Invalid name", "The name "+quote(name)+" of this "+what+" "+NameRule+".")}
}

func notNameRune(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}
