package jobs_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/nodepb"
	"waypoint/api/runnerpb"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/jobs"
)

// A follower may apply an assignment, and its runner ask for more time, before
// the leader has applied it.
func TestALeaderThatLagsDoesNotRefuseANewAttempt(t *testing.T) {
	b := newBench(t, jobs.Config{})
	b.lead(new(atomic.Int64))
	wait.For(t, patience, "the leader", func() bool { return b.jobs.Renew(t.Context(), nil) != nil })
	runner := ids.New()
	id := b.submit(&jobpb.Target{RunnerId: runner})
	ahead := []*nodepb.Renewal{{Fence: &deploymentpb.Fence{JobId: id, Attempt: 1}, RunnerId: runner}}

	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if granted := b.jobs.Renew(short, ahead); granted != nil {
		t.Errorf("of an attempt that the leader does not know yet it says %v", granted)
	}
	answer := make(chan []bool, 1)
	go func() { answer <- b.jobs.Renew(t.Context(), ahead) }()
	b.attach("late", func(r *runnerpb.Runner) { r.Id = runner })
	b.running(id)
	if granted := <-answer; len(granted) != 1 || !granted[0] {
		t.Errorf("the renewal got %v", granted)
	}
}
