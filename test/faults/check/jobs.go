package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What the history of a job tells. The first three are records of the cluster,
// the others are what the processes that did the work wrote down themselves.
const (
	Submitted = "submit" // somebody asked for the job
	Observed  = "state"  // somebody read the job's record
	Completed = "output" // somebody read which process the final output is of
	Began     = "begin"
	Worked    = "work" // a sign of life
	Finished  = "finish"
)

// JobEvent is one of them.
type JobEvent struct {
	Job     string  `json:"job"`
	At      int64   `json:"at"` // ns; of a record, when it was read
	Kind    string  `json:"kind"`
	Outcome Outcome `json:"outcome,omitempty"` // of Submitted
	State   string  `json:"state,omitempty"`   // of Observed: "queued", "running", "succeeded", "failed", "canceled"
	Attempt uint32  `json:"attempt,omitempty"` // of Observed
	EndedAt string  `json:"endedAt,omitempty"` // of Observed, as the record says
	Process string  `json:"process,omitempty"` // of all that tell of a process
	Text    string  `json:"text,omitempty"`
}

// Jobs checks every job that was submitted: its work was done at least once, its
// record was completed exactly once and by an attempt that was the current one
// and had done its work, and no two attempts worked at a time. An attempt whose
// runner keeps to its lease has stopped before another one begins, so one sign
// of life after that is a violation.
func Jobs(history []JobEvent) *Verdict {
	v := verdictOf("jobs", history)
	jobs := map[string][]JobEvent{}
	for _, e := range history {
		jobs[e.Job] = append(jobs[e.Job], e)
	}
	attempts, again := 0, 0
	for _, id := range slices.Sorted(maps.Keys(jobs)) {
		before := len(v.Violations)
		j := newJob(v, id, jobs[id])
		j.check()
		attempts += len(j.processes)
		if len(j.processes) > 1 {
			again++
		}
		if len(v.Violations) > before && v.excerpt == nil {
			v.excerpt = jobLines(j.events)
		}
	}
	v.Summary = fmt.Sprintf("%d jobs, worked on by %d processes; %d were worked on more than once", len(jobs), attempts, again)
	return v
}

// job is one job's history.
type job struct {
	v         *Verdict
	id        string
	events    []JobEvent // by time
	submitted Outcome
	records   []JobEvent
	completed string // the process that the final output is of
	processes []*process
}

// process is one attempt at work.
type process struct {
	name              string
	began, last, done int64 // done: 0 if it did not finish
}

func newJob(v *Verdict, id string, events []JobEvent) *job {
	j := &job{v: v, id: id}
	j.events = slices.SortedStableFunc(slices.Values(events), func(a, b JobEvent) int {
		switch {
		case a.At < b.At:
			return -1
		case a.At > b.At:
			return 1
		}
		return 0
	})
	for _, e := range j.events {
		switch e.Kind {
		case Submitted:
			j.submitted = e.Outcome
		case Observed:
			j.records = append(j.records, e)
		case Completed:
			j.completed = e.Process
		case Began:
			j.processes = append(j.processes, &process{name: e.Process, began: e.At, last: e.At})
		case Worked, Finished:
			j.sign(e)
		}
	}
	return j
}

// sign notes that a process is alive.
func (j *job) sign(e JobEvent) {
	p := j.process(e.Process)
	if p == nil {
		j.v.violated("job %s: process %s worked and never began", j.id, e.Process)
		return
	}
	if p.last = e.At; e.Kind == Finished {
		p.done = e.At
	}
}

func (j *job) process(name string) *process {
	for _, p := range j.processes {
		if p.name == name {
			return p
		}
	}
	return nil
}

func (j *job) check() {
	if j.submitted == NotDone {
		if len(j.records) > 0 || len(j.processes) > 0 {
			j.v.violated("job %s was certainly not submitted, and yet it is there", j.id)
		}
		return
	}
	ended := j.checkRecords()
	j.checkOverlap()
	switch {
	case ended == nil && j.submitted == Unknown && len(j.records) == 0:
		// It never was.
	case ended == nil:
		j.v.violated("job %s has not come to an end: %s", j.id, j.newest())
	case ended.State != "succeeded":
		j.v.violated("job %s ended %s, its work cannot fail: %s", j.id, ended.State, ended.Text)
	default:
		j.checkCompletion(ended)
	}
}

// checkRecords returns the first record of the job's end. Nothing may change
// after it, and attempts only count up.
func (j *job) checkRecords() (ended *JobEvent) {
	attempt := uint32(0)
	for i := range j.records {
		r := &j.records[i]
		if r.Attempt < attempt {
			j.v.violated("job %s went back from attempt %d to %d, as read at %s s", j.id, attempt, r.Attempt, at(r.At))
		}
		attempt = r.Attempt
		switch {
		case ended == nil && r.EndedAt != "":
			ended = r
		case ended != nil && (r.State != ended.State || r.EndedAt != ended.EndedAt || r.Attempt != ended.Attempt):
			j.v.violated("job %s was completed more than once: it was %s by attempt %d at %s, and then %s by attempt %d at %s",
				j.id, ended.State, ended.Attempt, ended.EndedAt, r.State, r.Attempt, r.EndedAt)
		}
	}
	return ended
}

func (j *job) newest() string {
	if n := len(j.records); n > 0 {
		return fmt.Sprintf("it is %s, attempt %d %s", j.records[n-1].State, j.records[n-1].Attempt, j.records[n-1].Text)
	}
	return "nobody could read it"
}

// checkOverlap checks that no process shows a sign of life after another one has
// begun.
func (j *job) checkOverlap() {
	for i, p := range j.processes {
		for _, next := range j.processes[i+1:] {
			if p.last > next.began {
				j.v.violated("job %s: two attempts worked at a time: process %s until %s s, process %s from %s s",
					j.id, p.name, at(p.last), next.name, at(next.began))
			}
		}
	}
}

// checkCompletion checks that the process whose output the record has was the
// newest one and had finished its work.
func (j *job) checkCompletion(ended *JobEvent) {
	if j.completed == "" {
		j.v.violated("job %s succeeded and its output does not say by whom", j.id)
		return
	}
	p := j.process(j.completed)
	if p == nil || p.done == 0 {
		j.v.violated("job %s was completed by process %s, which never finished its work", j.id, j.completed)
		return
	}
	if p.done > ended.At {
		j.v.violated("job %s had ended at %s s, before process %s finished its work at %s s", j.id, at(ended.At), p.name, at(p.done))
	}
	if newest := j.processes[len(j.processes)-1]; newest != p {
		j.v.violated("job %s was completed by a stale attempt: process %s, though process %s had taken over at %s s",
			j.id, p.name, newest.name, at(newest.began))
	}
	if n := len(j.processes); n > int(ended.Attempt) {
		j.v.violated("job %s: %d processes worked in %d attempts", j.id, n, ended.Attempt)
	}
}

// jobLines are the events of one job in words.
func jobLines(events []JobEvent) []string {
	var lines []string
	for _, e := range events[:min(len(events), maxExcerpt)] {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s %s%s attempt %d %s %s",
			at(e.At), e.Kind, e.Process, e.State, e.Outcome, e.Attempt, e.EndedAt, e.Text)))
	}
	return lines
}
