package runner

import (
	"context"
	"fmt"
	"strings"
	"time"

	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/projectpb"
	"waypoint/config"
	"waypoint/errs"
	"waypoint/plugin"
	"waypoint/plugin/child"
)

const (
	callTimeout   = 2 * time.Minute  // for one call; it rides out an election and more
	recordTimeout = 30 * time.Second // for the record of what has been done, cancelled or not
	maxText       = 4 << 10          // bytes of an error or a stage's message
	noopPlugin    = "noop"
)

// operation carries out one attempt.
type operation struct {
	work    *work
	config  Config
	spec    *jobpb.Spec
	fence   *deploymentpb.Fence
	project *config.Project // nil for a destroy

	projects    projectpb.ProjectServiceClient
	configs     configpb.ConfigClient
	deployments deploymentpb.DeploymentServiceClient
	jobs        jobpb.JobServiceClient
}

func newOperation(w *work) *operation {
	conn := w.runner.config.Client.Conn()
	return &operation{
		work: w, config: w.runner.config, spec: w.job.GetSpec(), fence: w.key.fence(),
		projects:    projectpb.NewProjectServiceClient(conn),
		configs:     configpb.NewConfigClient(conn),
		deployments: deploymentpb.NewDeploymentServiceClient(conn),
		jobs:        jobpb.NewJobServiceClient(conn),
	}
}

// run carries the operation out.
func (o *operation) run(ctx context.Context) error {
	switch o.spec.GetOperation() {
	case jobpb.Operation_OPERATION_NOOP:
		return nil
	case jobpb.Operation_OPERATION_DESTROY:
		return o.destroy(ctx)
	}
	apps, err := o.load()
	if err != nil {
		return err
	}
	if err := o.sync(ctx, apps); err != nil {
		return err
	}
	for _, app := range apps {
		if err := o.runApp(ctx, app); err != nil {
			return err
		}
	}
	return nil
}

// runApp carries the operation out for one app.
func (o *operation) runApp(ctx context.Context, app *config.App) error {
	switch o.spec.GetOperation() {
	case jobpb.Operation_OPERATION_BUILD:
		if app.Build == nil {
			return o.skip("build", app, "the project file says nothing about it")
		}
		_, err := o.build(ctx, app)
		return err
	case jobpb.Operation_OPERATION_DEPLOY:
		if app.Deploy == nil {
			return o.skip("deploy", app, "the project file says nothing about it")
		}
		_, err := o.deploy(ctx, app, nil)
		return err
	case jobpb.Operation_OPERATION_RELEASE:
		return o.release(ctx, app, nil)
	case jobpb.Operation_OPERATION_UP:
		return o.up(ctx, app)
	}
	return errs.New(errs.Unimplemented, "this runner does not know the operation %s: upgrade it", o.spec.GetOperation())
}

// up does everything, one stage after the other.
func (o *operation) up(ctx context.Context, app *config.App) error {
	if app.Build == nil && app.Deploy == nil {
		return o.skip("build", app, "the project file says nothing about it")
	}
	artifact, err := o.build(ctx, app)
	if err != nil || app.Deploy == nil {
		return err
	}
	deployment, err := o.deploy(ctx, app, artifact)
	if err != nil {
		return err
	}
	return o.release(ctx, app, deployment)
}

// load reads the project file and returns the apps that the job is about.
func (o *operation) load() ([]*config.App, error) {
	path, err := config.FindProject(o.spec.GetFolder())
	if err != nil {
		return nil, err
	}
	project, err := config.LoadProject(path, o.spec.GetVariables(), o.spec.GetWorkspace())
	if err != nil {
		return nil, err
	}
	if project.Name != o.spec.GetProject() {
		return nil, errs.New(errs.Invalid, "%s is of project %q, the job is of %q", path, project.Name, o.spec.GetProject())
	}
	o.project = project
	if o.spec.GetApp() == "" {
		return project.Apps, nil
	}
	app := project.App(o.spec.GetApp())
	if app == nil {
		return nil, errs.New(errs.Invalid, "%s has no app %q; it has %v", path, o.spec.GetApp(), project.Names())
	}
	return []*config.App{app}, nil
}

// stage does one stage and says how it goes. fn returns a word for people.
func (o *operation) stage(name, app string, fn func() (string, error)) error {
	o.say(name, app, jobpb.StageState_STAGE_STATE_RUNNING, "")
	o.printf("==> %s %s\n", name, app)
	message, err := fn()
	if err != nil {
		o.say(name, app, jobpb.StageState_STAGE_STATE_FAILED, err.Error())
		o.printf("%s %s failed: %v\n", name, app, err)
		return fmt.Errorf("%s %s: %w", name, app, err)
	}
	o.say(name, app, jobpb.StageState_STAGE_STATE_SUCCEEDED, message)
	o.printf("%s\n", message)
	return nil
}

// skip says that there is nothing to do.
func (o *operation) skip(name string, app *config.App, why string) error {
	o.say(name, app.Name, jobpb.StageState_STAGE_STATE_SKIPPED, why)
	o.printf("==> %s %s: skipped, %s\n", name, app.Name, why)
	return nil
}

func (o *operation) say(name, app string, state jobpb.StageState, message string) {
	o.work.say(&jobpb.Stage{Name: name, App: app, State: state, Message: text(message)})
}

func (o *operation) printf(format string, args ...any) { fmt.Fprintf(o.work, format, args...) }

// hooks runs the hooks of one side of a stage.
func (o *operation) hooks(ctx context.Context, app *config.App, stage *config.Stage, when config.When) error {
	for _, hook := range stage.HooksAt(when) {
		o.printf("hook %s: %q\n", when, hook.Command)
		err := child.Run(ctx, child.Command{Args: hook.Command, Dir: app.Dir, Output: o.work})
		switch {
		case err == nil:
		case hook.Continue && ctx.Err() == nil:
			o.printf("hook failed, going on: %v\n", err)
		default:
			return fmt.Errorf("hook %s: %w", when, err)
		}
	}
	return nil
}

// recording returns a context for the record of what has been done: it does not
// end because the job was cancelled.
func recording(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
}

// use returns the plugin that a stage names, and its body. A stage that names
// none is done by noop.
func use(stage *config.Stage) (name string, body plugin.Body) {
	if stage == nil || stage.Use == nil {
		return noopPlugin, nil
	}
	return stage.Use.Plugin, stage.Use
}

// found adds the place in the project file to a plugin that is not there.
func found[P any](stage *config.Stage, p P, err error) (P, error) {
	if err != nil && stage != nil && stage.Use != nil {
		err = fmt.Errorf("%s: %w", stage.Use.Position(), err)
	}
	return p, err
}

func (o *operation) ref(app *config.App) *deploymentpb.AppRef {
	return &deploymentpb.AppRef{Project: o.project.Name, App: app.Name, Workspace: o.project.Workspace}
}

func (o *operation) app(app *config.App) plugin.App {
	return plugin.App{Project: o.project.Name, Name: app.Name, Workspace: o.project.Workspace, Dir: app.Dir}
}

// failure is the text of an error for a record; empty for none.
func failure(err error) string {
	if err == nil {
		return ""
	}
	return text(err.Error())
}

// text returns what can be sent of a text: valid UTF-8, at most 4 KiB.
func text(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "?")
}
