package jobs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"waypoint/api/jobpb"
	"waypoint/api/runnerpb"
	"waypoint/state"
)

// Waiting says for people why no runner has taken a queued job yet. It is empty
// for a job that is not queued and for one that is about to be taken.
func Waiting(tx *state.Tx, job *jobpb.Job) string {
	if job.GetState() != jobpb.State_STATE_QUEUED {
		return ""
	}
	target := job.GetSpec().GetTarget()
	if id := target.GetRunnerId(); id != "" {
		return waitingForOne(tx, id)
	}
	attached := slices.DeleteFunc(tx.Runners(), func(r *runnerpb.Runner) bool {
		return r.GetState() != runnerpb.State_STATE_ATTACHED || r.GetLocal()
	})
	if len(attached) == 0 {
		return "no runner is attached"
	}
	attached = slices.DeleteFunc(attached, func(r *runnerpb.Runner) bool { return !onHost(r, target) })
	if len(attached) == 0 {
		return fmt.Sprintf("no runner on host %s is attached", target.GetHost())
	}
	attached = slices.DeleteFunc(attached, func(r *runnerpb.Runner) bool { return !hasLabels(r, target) })
	if len(attached) == 0 {
		return fmt.Sprintf("no runner with %s is attached", labelText(target.GetLabels()))
	}
	for _, r := range attached {
		if !isBusy(tx, r) {
			return ""
		}
	}
	if len(attached) == 1 {
		return fmt.Sprintf("the only runner for it, %s, is busy", attached[0].GetName())
	}
	return fmt.Sprintf("all %d runners are busy", len(attached))
}

func waitingForOne(tx *state.Tx, id string) string {
	runner := tx.Runner(id)
	switch {
	case runner == nil || runner.GetState() != runnerpb.State_STATE_ATTACHED:
		return fmt.Sprintf("runner %s, which it is for, is not attached", id)
	case isBusy(tx, runner):
		return fmt.Sprintf("runner %s, which it is for, is busy", runner.GetName())
	}
	return ""
}

func isBusy(tx *state.Tx, runner *runnerpb.Runner) bool {
	return len(tx.JobsWorkedOn(runner.GetId())) >= slots(runner)
}

func labelText(labels map[string]string) string {
	var text []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		text = append(text, name+"="+labels[name])
	}
	return "label " + strings.Join(text, ", ")
}
