package fsm

import (
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/jobpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/state"
)

// jobSubmit queues a job. The same id and spec again is the same job.
func jobSubmit(o *op, c *commandpb.JobSubmit) (*commandpb.Result, error) {
	if err := checkSpec(o, c); err != nil {
		return nil, err
	}
	if old := o.Job(c.GetId()); old != nil {
		if !proto.Equal(old.GetSpec(), c.GetSpec()) {
			return nil, errs.New(errs.AlreadyExists, "there is another job %s", c.GetId())
		}
		return unchanged(c.GetId()), nil
	}
	state.Put(o.WriteTx, &jobpb.Job{
		Id:        c.GetId(),
		Spec:      c.GetSpec(),
		State:     jobpb.State_STATE_QUEUED,
		CreatedBy: o.command.GetTokenId(),
		CreatedAt: o.now,
	})
	return done(c.GetId()), nil
}

func checkSpec(o *op, c *commandpb.JobSubmit) error {
	spec := c.GetSpec()
	switch {
	case c.GetId() == "" || spec.GetOperation() == jobpb.Operation_OPERATION_UNSPECIFIED:
		return errs.New(errs.Invalid, "a job needs an id and an operation")
	case spec.GetProject() == "" && spec.GetOperation() == jobpb.Operation_OPERATION_NOOP && spec.GetApp() == "":
		return nil
	case spec.GetProject() == "":
		return errs.New(errs.Invalid, "a job needs a project")
	}
	return o.checkApp(spec.GetProject(), spec.GetApp())
}

// jobAssign gives a queued job to a runner. The result's version is the
// attempt.
func jobAssign(o *op, c *commandpb.JobAssign) (*commandpb.Result, error) {
	if err := o.leaderOnly(); err != nil {
		return nil, err
	}
	job := o.Job(c.GetId())
	if job == nil {
		return nil, errs.New(errs.NotFound, "there is no job %s", c.GetId())
	}
	if job.GetState() != jobpb.State_STATE_QUEUED {
		return nil, errs.New(errs.Conflict, "job %s is not queued", c.GetId())
	}
	if err := checkRunner(o, c.GetRunnerId(), job.GetSpec().GetTarget()); err != nil {
		return nil, err
	}
	row := proto.CloneOf(job)
	row.State = jobpb.State_STATE_RUNNING
	row.Attempt++
	row.RunnerId = c.GetRunnerId()
	row.Stages = nil
	row.AssignedAt = o.now
	state.Put(o.WriteTx, row)
	return &commandpb.Result{Ids: []string{c.GetId()}, Version: uint64(row.GetAttempt())}, nil
}

func checkRunner(o *op, id string, target *jobpb.Target) error {
	runner := o.Runner(id)
	switch {
	case runner == nil:
		return errs.New(errs.NotFound, "there is no runner %s", id)
	case runner.GetState() != runnerpb.State_STATE_ATTACHED:
		return errs.New(errs.Conflict, "runner %s is not attached", id)
	case !suits(runner, target):
		return errs.New(errs.Conflict, "the job is not for runner %s", id)
	case runner.GetSlots() > 0 && len(o.JobsWorkedOn(id)) >= int(runner.GetSlots()):
		return errs.New(errs.Conflict, "runner %s has all the work it can take", id)
	}
	return nil
}

// suits reports whether a runner may take jobs with the target. A runner
// inside a CLI takes only what is aimed at it.
func suits(runner *runnerpb.Runner, target *jobpb.Target) bool {
	if target.GetRunnerId() != runner.GetId() && (target.GetRunnerId() != "" || runner.GetLocal()) {
		return false
	}
	if target.GetHost() != "" && target.GetHost() != runner.GetHost() {
		return false
	}
	for name, value := range target.GetLabels() { // the order does not matter
		if have, ok := runner.GetLabels()[name]; !ok || have != value {
			return false
		}
	}
	return true
}

// jobStage records how far an attempt has come.
func jobStage(o *op, c *commandpb.JobStage) (*commandpb.Result, error) {
	job, err := o.working(c.GetFence())
	if err != nil {
		return nil, err
	}
	if c.GetStage().GetName() == "" {
		return nil, errs.New(errs.Invalid, "a stage needs a name")
	}
	row := proto.CloneOf(job)
	setStage(row, c.GetStage(), o)
	if proto.Equal(row, job) {
		return unchanged(job.GetId()), nil
	}
	state.Put(o.WriteTx, row)
	return done(job.GetId()), nil
}

// setStage appends the stage or changes the one of that app and name.
func setStage(job *jobpb.Job, said *jobpb.Stage, o *op) {
	var stage *jobpb.Stage
	for _, s := range job.GetStages() {
		if s.GetApp() == said.GetApp() && s.GetName() == said.GetName() {
			stage = s
		}
	}
	if stage == nil {
		stage = &jobpb.Stage{Name: said.GetName(), App: said.GetApp(), StartedAt: o.now}
		job.Stages = append(job.Stages, stage)
	}
	stage.State, stage.Message = said.GetState(), said.GetMessage()
	switch {
	case stage.GetState() == jobpb.StageState_STAGE_STATE_RUNNING:
		stage.EndedAt = nil
	case stage.GetEndedAt() == nil:
		stage.EndedAt = o.now
	}
}

// jobCancel ends a queued job at once and asks for the end of a running one.
func jobCancel(o *op, c *commandpb.JobCancel) (*commandpb.Result, error) {
	job := o.Job(c.GetId())
	switch {
	case job == nil:
		return nil, errs.New(errs.NotFound, "there is no job %s", c.GetId())
	case state.JobEnded(job):
		return nil, errs.New(errs.Conflict, "job %s has ended already", c.GetId())
	case job.GetCancelRequested():
		return unchanged(c.GetId()), nil
	}
	row := proto.CloneOf(job)
	row.CancelRequested = true
	if job.GetState() == jobpb.State_STATE_QUEUED {
		row.State, row.Error, row.EndedAt = jobpb.State_STATE_CANCELED, "cancelled before it began", o.now
	}
	state.Put(o.WriteTx, row)
	return done(c.GetId()), nil
}

func deleteJob(o *op, job *jobpb.Job) {
	state.Delete(o.WriteTx, job)
	if output := o.JobOutput(job.GetId()); output != nil {
		state.Delete(o.WriteTx, output)
	}
}
