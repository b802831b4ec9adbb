package fsm

import (
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/errs"
	"waypoint/state"
)

// jobFinish ends a job as its runner says.
func jobFinish(o *op, c *commandpb.JobFinish) (*commandpb.Result, error) {
	job := o.Job(c.GetFence().GetJobId())
	if job.GetState() == c.GetState() && job.GetAttempt() == c.GetFence().GetAttempt() && state.JobEnded(job) {
		return unchanged(job.GetId()), nil
	}
	job, err := o.working(c.GetFence())
	if err != nil {
		return nil, err
	}
	switch c.GetState() {
	case jobpb.State_STATE_SUCCEEDED, jobpb.State_STATE_FAILED:
	case jobpb.State_STATE_CANCELED:
		if !job.GetCancelRequested() {
			return nil, errs.New(errs.Conflict, "nobody has cancelled job %s", job.GetId())
		}
	default:
		return nil, errs.New(errs.Invalid, "a job ends succeeded, failed or canceled")
	}
	row := proto.CloneOf(job)
	row.OutputBytes, row.OutputTruncated = c.GetOutputBytes(), c.GetOutputTruncated()
	end(o, row, c.GetState(), c.GetError())
	if len(c.GetOutputZstd()) > 0 {
		state.Put(o.WriteTx, &jobpb.Output{JobId: job.GetId(), Zstd: c.GetOutputZstd(), EndedAt: o.now})
	}
	return done(job.GetId()), nil
}

// jobExpire ends an attempt whose runner is gone. The job waits for another
// attempt if its policy has one left.
func jobExpire(o *op, c *commandpb.JobExpire) (*commandpb.Result, error) {
	if err := o.leaderOnly(); err != nil {
		return nil, err
	}
	job, err := o.working(c.GetFence())
	if err != nil {
		return nil, err
	}
	row := proto.CloneOf(job)
	switch {
	case job.GetCancelRequested():
		end(o, row, jobpb.State_STATE_CANCELED, c.GetReason())
	case job.GetAttempt() < maxAttempts(job.GetSpec()):
		endAttempt(o, row, c.GetReason())
		row.State, row.RunnerId, row.AssignedAt = jobpb.State_STATE_QUEUED, "", nil
		state.Put(o.WriteTx, row)
	default:
		end(o, row, jobpb.State_STATE_FAILED, c.GetReason())
	}
	return done(job.GetId()), nil
}

// maxAttempts is how often a job may be given to a runner. What changes the
// world outside is not done twice unless asked for.
func maxAttempts(spec *jobpb.Spec) uint32 {
	if spec.GetMaxAttempts() > 0 {
		return spec.GetMaxAttempts()
	}
	switch spec.GetOperation() {
	case jobpb.Operation_OPERATION_DEPLOY, jobpb.Operation_OPERATION_RELEASE,
		jobpb.Operation_OPERATION_UP, jobpb.Operation_OPERATION_DESTROY:
		return 1
	}
	return 3
}

// end stores the row of a running job as ended.
func end(o *op, row *jobpb.Job, to jobpb.State, failure string) {
	if to != jobpb.State_STATE_SUCCEEDED {
		endAttempt(o, row, failure)
	}
	row.State, row.Error, row.EndedAt = to, failure, o.now
	state.Put(o.WriteTx, row)
}

// endAttempt fails what the job's current attempt leaves unfinished.
func endAttempt(o *op, row *jobpb.Job, reason string) {
	for _, stage := range row.GetStages() {
		if stage.GetState() == jobpb.StageState_STAGE_STATE_RUNNING {
			stage.State, stage.EndedAt = jobpb.StageState_STAGE_STATE_FAILED, o.now
		}
	}
	fence := &deploymentpb.Fence{JobId: row.GetId(), Attempt: row.GetAttempt()}
	text := "the job ended before it"
	if reason != "" {
		text += ": " + reason
	}
	failBuilds(o, fence, text)
	failDeployments(o, fence, text)
	failReleases(o, fence, text)
}

func failBuilds(o *op, fence *deploymentpb.Fence, reason string) {
	for _, row := range o.BuildsOf(fence) {
		if row.GetStatus() == deploymentpb.Status_STATUS_RUNNING {
			row = proto.CloneOf(row)
			row.Status, row.Error, row.EndedAt = deploymentpb.Status_STATUS_FAILED, reason, o.now
			state.Put(o.WriteTx, row)
		}
	}
}

func failDeployments(o *op, fence *deploymentpb.Fence, reason string) {
	for _, row := range o.DeploymentsOf(fence) {
		if row.GetStatus() == deploymentpb.Status_STATUS_RUNNING {
			row = proto.CloneOf(row)
			row.Status, row.Error, row.EndedAt = deploymentpb.Status_STATUS_FAILED, reason, o.now
			state.Put(o.WriteTx, row)
		}
	}
}

func failReleases(o *op, fence *deploymentpb.Fence, reason string) {
	for _, row := range o.ReleasesOf(fence) {
		if row.GetStatus() == deploymentpb.Status_STATUS_RUNNING {
			row = proto.CloneOf(row)
			row.Status, row.Error, row.EndedAt = deploymentpb.Status_STATUS_FAILED, reason, o.now
			state.Put(o.WriteTx, row)
		}
	}
}
