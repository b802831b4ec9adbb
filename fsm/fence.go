package fsm

import (
	"waypoint/api/authpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/errs"
)

// working returns the running job whose current attempt the fence names.
func (o *op) working(fence *deploymentpb.Fence) (*jobpb.Job, error) {
	job := o.Job(fence.GetJobId())
	switch {
	case job == nil:
		return nil, errs.New(errs.StaleAttempt, "there is no job %s", fence.GetJobId())
	case job.GetState() != jobpb.State_STATE_RUNNING || fences && job.GetAttempt() != fence.GetAttempt():
		return nil, errs.New(errs.StaleAttempt, "attempt %d of job %s is over", fence.GetAttempt(), fence.GetJobId())
	}
	return job, nil
}

// checkFence refuses a record of an attempt that is not the job's current one.
// Users may make records outside of any job, runners may not.
func (o *op) checkFence(fence *deploymentpb.Fence) error {
	if fence.GetJobId() != "" {
		_, err := o.working(fence)
		return err
	}
	if o.caller.kind() == authpb.TokenKind_TOKEN_KIND_RUNNER {
		return errs.New(errs.PermissionDenied, "a runner works for a job only")
	}
	return nil
}

// finishing is what decides about the end of an operation.
type finishing struct {
	what        string // for people: "build 01H..."
	status      deploymentpb.Status
	own, given  *deploymentpb.Fence // the record's and the command's
	wantFailure bool
}

// checkFinish reports whether the operation has already ended as wanted, or
// why it cannot end so.
func (o *op) checkFinish(f finishing) (already bool, err error) {
	switch {
	case f.status == deploymentpb.Status_STATUS_SUCCEEDED && !f.wantFailure,
		f.status == deploymentpb.Status_STATUS_FAILED && f.wantFailure:
		return true, nil
	case f.status != deploymentpb.Status_STATUS_RUNNING:
		return false, errs.New(errs.Conflict, "%s has ended otherwise: %s", f.what, statusText(f.status))
	case f.own.GetJobId() != f.given.GetJobId() || f.own.GetAttempt() != f.given.GetAttempt():
		return false, errs.New(errs.StaleAttempt, "%s was begun by another attempt", f.what)
	}
	return false, o.checkFence(f.given)
}

func statusText(s deploymentpb.Status) string {
	switch s {
	case deploymentpb.Status_STATUS_SUCCEEDED:
		return "it succeeded"
	case deploymentpb.Status_STATUS_FAILED:
		return "it failed"
	case deploymentpb.Status_STATUS_DESTROYED:
		return "it is destroyed"
	}
	return "it is running"
}

// outcome is the status that an error text, or none, leaves.
func outcome(failure string) deploymentpb.Status {
	if failure != "" {
		return deploymentpb.Status_STATUS_FAILED
	}
	return deploymentpb.Status_STATUS_SUCCEEDED
}
