package state

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
)

func jobTable() *table[*jobpb.Job] {
	return &table[*jobpb.Job]{
		name: "jobs",
		id:   func(j *jobpb.Job) []byte { return key{}.str(j.GetId()) },
		indexes: []index[*jobpb.Job]{
			{name: "created", key: func(j *jobpb.Job) []byte { return key{}.time(j.GetCreatedAt()).str(j.GetId()) }},
			{name: "project", key: func(j *jobpb.Job) []byte { return key{}.str(j.GetSpec().GetProject()) }},
			{name: "active", key: func(j *jobpb.Job) []byte {
				if JobEnded(j) {
					return nil
				}
				return key{}.num(uint64(j.GetState())).time(j.GetCreatedAt())
			}},
			{name: "ended", key: func(j *jobpb.Job) []byte {
				if !JobEnded(j) {
					return nil
				}
				return key{}.time(j.GetEndedAt())
			}},
			{name: "working", key: func(j *jobpb.Job) []byte {
				if j.GetState() != jobpb.State_STATE_RUNNING {
					return nil
				}
				return key{}.str(j.GetRunnerId())
			}},
		},
	}
}

func outputTable() *table[*jobpb.Output] {
	return &table[*jobpb.Output]{
		name: "outputs",
		id:   func(o *jobpb.Output) []byte { return key{}.str(o.GetJobId()) },
	}
}

// JobEnded reports whether a job is in a state that it never leaves.
func JobEnded(j *jobpb.Job) bool { return endState(j.GetState()) }

func endState(s jobpb.State) bool {
	return s == jobpb.State_STATE_SUCCEEDED || s == jobpb.State_STATE_FAILED || s == jobpb.State_STATE_CANCELED
}

// JobFilter says which jobs to list. Unset fields match all.
type JobFilter struct {
	Project   string
	App       string
	Workspace string
	States    []jobpb.State // any of them
	RunnerID  string        // the runner that has it or last had it
	Limit     int           // newest first; 0: no limit
}

func (f JobFilter) matches(j *jobpb.Job) bool {
	spec := j.GetSpec()
	ref := &deploymentpb.AppRef{Project: f.Project, App: f.App, Workspace: f.Workspace}
	app := &deploymentpb.AppRef{Project: spec.GetProject(), App: spec.GetApp(), Workspace: spec.GetWorkspace()}
	return matches(ref, app) &&
		(len(f.States) == 0 || slices.Contains(f.States, j.GetState())) &&
		(f.RunnerID == "" || f.RunnerID == j.GetRunnerId())
}

// activeOnly reports whether no ended job can match.
func (f JobFilter) activeOnly() bool {
	return len(f.States) > 0 && !slices.ContainsFunc(f.States, endState)
}

type jobQueries struct{ *reader }

// Job returns a job.
func (q jobQueries) Job(id string) *jobpb.Job {
	return q.tables.jobs.get(q.reader, key{}.str(id))
}

// Jobs lists the jobs that match the filter, newest first.
func (q jobQueries) Jobs(filter JobFilter) []*jobpb.Job {
	if !filter.activeOnly() {
		return first(q.tables.jobs.descend(q.reader, "created", nil), filter.Limit, filter.matches)
	}
	// Ended jobs need not be looked at, nor do their changes wake a watcher.
	var list []*jobpb.Job
	states := slices.Compact(slices.Sorted(slices.Values(filter.States)))
	for _, state := range states {
		list = append(list, first(q.tables.jobs.descend(q.reader, "active", key{}.num(uint64(state))), filter.Limit, filter.matches)...)
	}
	slices.SortFunc(list, func(a, b *jobpb.Job) int {
		return cmp.Or(
			b.GetCreatedAt().AsTime().Compare(a.GetCreatedAt().AsTime()),
			strings.Compare(b.GetId(), a.GetId()),
		)
	})
	if filter.Limit > 0 && len(list) > filter.Limit {
		list = list[:filter.Limit]
	}
	return list
}

// QueuedJobs yields the jobs that wait for a runner, oldest first. Who stops early
// has not looked at the rest, however many there are.
func (q jobQueries) QueuedJobs() iter.Seq[*jobpb.Job] {
	return q.tables.jobs.ascend(q.reader, "active", key{}.num(uint64(jobpb.State_STATE_QUEUED)))
}

// JobOutput returns the final output of an ended job.
func (q jobQueries) JobOutput(id string) *jobpb.Output {
	return q.tables.outputs.get(q.reader, key{}.str(id))
}

// JobsOfProject lists the project's jobs in no particular order.
func (q jobQueries) JobsOfProject(project string) []*jobpb.Job {
	return slices.Collect(q.tables.jobs.ascend(q.reader, "project", key{}.str(project)))
}

// JobsWorkedOn lists the running jobs of a runner.
func (q jobQueries) JobsWorkedOn(runnerID string) []*jobpb.Job {
	return slices.Collect(q.tables.jobs.ascend(q.reader, "working", key{}.str(runnerID)))
}

// JobsEndedBeyond lists at most limit ended jobs that are older than the keep
// newest ended ones.
func (q jobQueries) JobsEndedBeyond(keep, limit int) []*jobpb.Job {
	var list []*jobpb.Job
	skipped := 0
	for j := range q.tables.jobs.descend(q.reader, "ended", nil) {
		switch {
		case skipped < keep:
			skipped++
		case len(list) < limit:
			list = append(list, j)
		default:
			return list
		}
	}
	return list
}
