package jobs

import (
	"iter"

	"waypoint/api/jobpb"
	"waypoint/api/runnerpb"
	"waypoint/state"
)

func inState(s jobpb.State) state.JobFilter { return state.JobFilter{States: []jobpb.State{s}} }

// capacity is which attached runners have how many slots left.
type capacity struct {
	runners []*runnerpb.Runner // attached ones with a free slot or without
	free    map[string]int     // by runner id
	total   int
}

// freeSlots counts what running jobs take, and those that are about to be given
// to a runner (given: job id to runner id).
func freeSlots(runners []*runnerpb.Runner, running []*jobpb.Job, given map[string]string) capacity {
	busy := make(map[string]int)
	for _, job := range running {
		if given[job.GetId()] == "" {
			busy[job.GetRunnerId()]++
		}
	}
	for _, runner := range given {
		busy[runner]++
	}
	c := capacity{free: make(map[string]int)}
	for _, runner := range runners {
		if runner.GetState() != runnerpb.State_STATE_ATTACHED {
			continue
		}
		c.runners = append(c.runners, runner)
		if free := slots(runner) - busy[runner.GetId()]; free > 0 {
			c.free[runner.GetId()] = free
			c.total += free
		}
	}
	return c
}

func slots(runner *runnerpb.Runner) int { return int(max(runner.GetSlots(), 1)) }

// assign gives queued jobs to runners: the oldest job first, each to the runner
// with most slots free. It returns pairs of a job and its runner, and looks no
// further than there are free slots.
func assign(queued iter.Seq[*jobpb.Job], c capacity, given map[string]string) (pairs [][2]string) {
	if c.total == 0 {
		return nil
	}
	for job := range queued {
		if given[job.GetId()] != "" {
			continue
		}
		var best *runnerpb.Runner
		for _, runner := range c.runners {
			if c.free[runner.GetId()] > 0 && mayTake(runner, job) &&
				(best == nil || c.free[runner.GetId()] > c.free[best.GetId()]) {
				best = runner
			}
		}
		if best == nil {
			continue
		}
		pairs = append(pairs, [2]string{job.GetId(), best.GetId()})
		c.free[best.GetId()]--
		if c.total--; c.total == 0 {
			break
		}
	}
	return pairs
}

// mayTake tells whether the job's target admits the runner. A local runner
// takes only jobs that name it.
func mayTake(runner *runnerpb.Runner, job *jobpb.Job) bool {
	target := job.GetSpec().GetTarget()
	if id := target.GetRunnerId(); id != runner.GetId() && (id != "" || runner.GetLocal()) {
		return false
	}
	return onHost(runner, target) && hasLabels(runner, target)
}

func onHost(runner *runnerpb.Runner, target *jobpb.Target) bool {
	return target.GetHost() == "" || target.GetHost() == runner.GetHost()
}

func hasLabels(runner *runnerpb.Runner, target *jobpb.Target) bool {
	for name, value := range target.GetLabels() {
		if have, ok := runner.GetLabels()[name]; !ok || have != value {
			return false
		}
	}
	return true
}
