package fsm

import (
	"time"

	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/state"
)

// tokenAge is how long the record of a token that has ended is kept for
// people to look at. A token without a record is refused all the same.
const tokenAge = 30 * 24 * time.Hour

// prune removes what retention does not keep, oldest times first, at most max
// rows of a table so that an entry never takes long. An age or a number that
// is not set keeps everything of its kind.
func prune(o *op, c *commandpb.Prune) (*commandpb.Result, error) {
	if err := o.leaderOnly(); err != nil {
		return nil, err
	}
	limit := int(c.GetMax())
	if limit == 0 {
		return nil, errs.New(errs.Invalid, "a prune needs a bound")
	}
	removed := 0
	if c.GetJobsKeep() > 0 {
		for _, job := range o.JobsEndedBeyond(int(c.GetJobsKeep()), limit) {
			deleteJob(o, job)
			removed++
		}
	}
	if c.GetInstanceAge() != nil {
		old := o.place.time.Add(-c.GetInstanceAge().AsDuration())
		away := o.InstancesAwayBefore(old, limit)
		for _, instance := range away {
			endUnknown(o, o.ExecSessionsIn(instance.GetId()), "its instance has been away for long")
		}
		removed += drop(o, away)
		removed += drop(o, o.RunnersAwayBefore(old, limit))
	}
	if c.GetExecSessionsKeep() > 0 {
		removed += drop(o, o.ExecSessionsBeyond(int(c.GetExecSessionsKeep()), limit))
	}
	removed += drop(o, o.TokensEndedBefore(o.place.time.Add(-tokenAge), limit))
	if removed == 0 {
		return unchanged(), nil
	}
	return &commandpb.Result{}, nil
}

// drop deletes the rows and returns how many there were.
func drop[M state.Row](o *op, rows []M) int {
	for _, row := range rows {
		state.Delete(o.WriteTx, row)
	}
	return len(rows)
}
