package command

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/posener/complete"

	"waypoint/api/jobpb"
	"waypoint/api/projectpb"
	"waypoint/command/output"
	"waypoint/config"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/runner"
)

// operation holds the flags of a command that submits a job and follows it.
type operation struct {
	scope      *scope
	conn       *connection
	log        *logging
	remote     bool
	detach     bool
	host       string
	labels     map[string]string
	folder     string
	entrypoint string
}

const operationHelp = `The work is done by a runner inside this command, on this machine and in the project's folder. Ctrl-C asks for it to be cancelled; a second one ends the command at once.

With -remote a runner of the cluster does it ("waypoint runner agent"), in the same folder of its host unless -folder names another; then Ctrl-C only ends the watching.`

func (f *flags) operation() *operation {
	o := &operation{}
	o.scope = f.scope("only this `app`; default: all apps of the project", "the `workspace`; default: \"default\"")
	f.List(&o.scope.vars, "var", complete.PredictAnything, "`name=value` of a variable of the project file; may be given several times")
	f.List(&o.scope.varFiles, "var-file", complete.PredictFiles("*"), "`file` of name = value lines; may be given several times")
	f.Bool(&o.remote, "remote", "let a runner of the cluster do it")
	f.Bool(&o.detach, "detach", "with -remote: print the job's ID and do not wait")
	f.String(&o.host, "host", "", complete.PredictAnything, "with -remote: a runner on this `host`")
	f.Map(&o.labels, "runner-label", "with -remote: a runner with the label `key=value`; may be given several times")
	f.String(&o.folder, "folder", "", complete.PredictDirs("*"), "with -remote: the project's `folder` on the runner's host")
	f.String(&o.entrypoint, "entrypoint", "", complete.PredictFiles("*"), "the `file` of waypoint-entrypoint; default: beside this program, then in PATH")
	o.log = f.logging("error")
	o.conn = f.writes()
	return o
}

// spec begins a job for a place: everything but what the operation itself asks.
func (o *operation) spec(env *Env, op jobpb.Operation, at *place) (*jobpb.Spec, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	spec := &jobpb.Spec{Operation: op, Project: at.project, App: at.app, Workspace: at.workspace, Target: &jobpb.Target{}}
	if o.remote {
		spec.Target.Host, spec.Target.Labels = o.host, o.labels
		spec.Folder = o.folder
	}
	if at.file == nil {
		return spec, nil
	}
	if spec.Folder == "" {
		spec.Folder = at.file.Dir
	}
	var err error
	spec.Variables, err = o.scope.values(env, at.file.Path)
	return spec, err
}

func (o *operation) check() error {
	if o.remote {
		return nil
	}
	switch {
	case o.detach:
		return usagef("-detach goes with -remote only: the work is done inside this command")
	case o.host != "" || len(o.labels) > 0:
		return usagef("-host and -runner-label choose a runner: they go with -remote only")
	case o.folder != "":
		return usagef("-folder goes with -remote only: name the project's folder with -p")
	}
	return nil
}

// checkFile evaluates the project file as the job will, so that a mistake in it
// is told at once and not by a job. A file on another host cannot be looked at.
func checkFile(at *place, spec *jobpb.Spec) error {
	if at.file == nil || spec.GetFolder() != at.file.Dir {
		return nil
	}
	_, err := config.LoadProject(at.file.Path, spec.GetVariables(), spec.GetWorkspace())
	return err
}

// needsFolder refuses a job that has no project file to work by.
func needsFolder(spec *jobpb.Spec) error {
	if spec.GetFolder() == "" {
		return usagef("the file of project %s is not in this folder or above it: go there, or give its path with -p, or with -remote the folder on the runner's host with -folder", spec.GetProject())
	}
	return nil
}

// submit has a job done: it registers the project, starts a runner unless one
// of the cluster shall do it, submits the job and follows it to its end.
func (o *operation) submit(ctx context.Context, env *Env, cc Conn, at *place, spec *jobpb.Spec) error {
	early, stop := env.interruptible(ctx)
	stopEarly := sync1(stop)
	defer stopEarly()

	if at.file != nil {
		request := &projectpb.ApplyProjectRequest{Name: at.project, Apps: at.file.Apps}
		if _, err := projectpb.NewProjectServiceClient(cc).ApplyProject(early, request); err != nil {
			return interruptedOr(early, fmt.Errorf("register project %s: %w", at.project, err))
		}
	}
	local := &localRunner{}
	if !o.remote {
		var err error
		if local, err = o.startRunner(early, ctx, env); err != nil {
			return interruptedOr(early, err)
		}
		defer local.stop()
		spec.Target.RunnerId = local.id
	}
	api := jobpb.NewJobServiceClient(cc)
	reply, err := api.Submit(early, &jobpb.SubmitRequest{Spec: spec, Id: ids.New()})
	if err != nil {
		return interruptedOr(early, fmt.Errorf("submit the job: %w", err))
	}
	id := reply.GetJob().GetId()
	if o.detach {
		return o.detached(env, reply)
	}
	w := &watching{env: env, cc: cc, id: id, json: o.conn.json, runner: local.done, interrupt: leaveRunning(id)}
	if !o.remote {
		w.interrupt = cancelJob(ctx, env, api, id)
	}
	stopEarly()
	return o.follow(ctx, env, w)
}

func (o *operation) follow(ctx context.Context, env *Env, w *watching) error {
	began := env.Now()
	job, err := w.run(ctx)
	if err != nil {
		return err
	}
	if err := outcome(job); err != nil || o.conn.json {
		return err
	}
	took := env.Now().Sub(began)
	if job.GetEndedAt() != nil && job.GetCreatedAt() != nil {
		took = job.GetEndedAt().AsTime().Sub(job.GetCreatedAt().AsTime())
	}
	_, err = fmt.Fprintf(env.Stdout, "%s in %s.\n", env.style(env.Stdout).Good("Done"), output.Took(took))
	return err
}

func (o *operation) detached(env *Env, reply *jobpb.SubmitResponse) error {
	if o.conn.json {
		return output.Message(env.Stdout, reply)
	}
	fmt.Fprintln(env.Stderr, "The job is submitted; \"waypoint job watch\" with this ID shows it:")
	_, err := fmt.Fprintln(env.Stdout, reply.GetJob().GetId())
	return err
}

// cancelJob is what an interrupt means to who does the work itself.
func cancelJob(ctx context.Context, env *Env, api jobpb.JobServiceClient, id string) func(int, func(string)) error {
	return func(count int, say func(string)) error {
		if count > 1 {
			env.Exit(codeFailed)
		}
		say("cancelling; once more to leave at once")
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if _, err := api.Cancel(ctx, &jobpb.CancelRequest{Id: id}); err != nil {
			return fmt.Errorf("cancel job %s: %w", id, err)
		}
		return nil
	}
}

// localRunner is the runner inside of this command.
type localRunner struct {
	id   string
	done <-chan error // its end; nil for none
	stop func()       // ends it and waits
}

// startRunner starts a runner that lives until stop, and waits, while early
// lasts, until it is attached.
func (o *operation) startRunner(early, ctx context.Context, env *Env) (*localRunner, error) {
	logger, err := o.log.logger(env, "runner")
	if err != nil {
		return nil, err
	}
	t, err := o.conn.target(env)
	if err != nil {
		return nil, err
	}
	r, err := env.NewRunner(t, localConfig(env, o.entrypoint, logger))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done, finished := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(finished)
		done <- r.Run(ctx)
	}()
	stop := func() {
		cancel()
		<-finished
	}
	select {
	case <-r.Attached():
		return &localRunner{id: r.ID(), done: done, stop: stop}, nil
	case err = <-done:
		err = fmt.Errorf("start a runner: %w", err)
	case <-early.Done():
		err = early.Err()
	}
	stop()
	return nil, err
}

func localConfig(env *Env, entrypoint string, logger hclog.Logger) runner.Config {
	return runner.Config{Name: "cli@" + env.Host, Host: env.Host, Local: true, Slots: 1, EntrypointBinary: env.entrypointBinary(entrypoint), Logger: logger}
}

// interruptedOr is errInterrupted if that is why ctx has ended, else err.
func interruptedOr(ctx context.Context, err error) error {
	if context.Cause(ctx) == errInterrupted {
		return errInterrupted
	}
	return err
}

// sync1 makes a function that does its work at the first call only.
func sync1(fn func()) func() {
	done := false
	return func() {
		if !done {
			done = true
			fn()
		}
	}
}

// unknownDeployment says which deployment cannot be worked on.
func unknownDeployment(text string) error {
	return errs.New(errs.NotFound, "there is no deployment %s to work on; \"waypoint deployment list\" shows those there are", text)
}
