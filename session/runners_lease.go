package session

import (
	"context"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/api/nodepb"
	"waypoint/api/runnerpb"
)

const (
	renewTimeout = 3 * time.Second        // for one question to the leader
	renewPause   = 300 * time.Millisecond // after one that was not answered
)

// queueRenewal queues a runner's renewal for the next message to the leader, in
// place of an older one.
func (r *Runners) queueRenewal(s *runnerSession, renew *runnerpb.Renew) {
	if len(renew.GetFences()) > maxSlots {
		renew.Fences = renew.GetFences()[:maxSlots]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renewals[s] = renew
	signal(r.toRenew)
}

// renew sends the renewals that wait to the leader, those of all runners in one
// message.
func (r *Runners) renew(ctx context.Context) error {
	timer := time.NewTimer(renewPause)
	defer timer.Stop()
	for {
		select {
		case <-r.toRenew:
		case <-ctx.Done():
			return ctx.Err()
		}
		r.mu.Lock()
		batch := r.renewals
		r.renewals = map[*runnerSession]*runnerpb.Renew{}
		r.mu.Unlock()
		if r.renewBatch(ctx, batch) {
			continue
		}
		r.renewAgain(batch)
		timer.Reset(renewPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// renewAgain puts renewals back that were not answered, unless there is a newer
// one. What they grant counts from when the runner sent them, however late.
func (r *Runners) renewAgain(batch map[*runnerSession]*runnerpb.Renew) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s, renew := range batch {
		if r.renewals[s] == nil && r.byID[s.row.GetId()] == s {
			r.renewals[s] = renew
		}
	}
	signal(r.toRenew)
}

// renewBatch asks once and returns false if there is no answer.
func (r *Runners) renewBatch(ctx context.Context, batch map[*runnerSession]*runnerpb.Renew) bool {
	var (
		renewals []*nodepb.Renewal
		from     []*runnerSession
	)
	for s, renew := range batch {
		for _, fence := range renew.GetFences() {
			renewals = append(renewals, &nodepb.Renewal{Fence: fence, RunnerId: s.row.GetId()})
			from = append(from, s)
		}
	}
	if len(renewals) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	granted, err := r.cfg.RenewLeases(ctx, renewals)
	if err != nil || len(granted) != len(renewals) {
		r.cfg.Logger.Debug("cannot renew leases", "count", len(renewals), "error", err)
		return false
	}
	answers := map[*runnerSession]*runnerpb.Renewed{}
	for i, renewal := range renewals {
		answer := answers[from[i]]
		if answer == nil {
			answer = &runnerpb.Renewed{Id: batch[from[i]].GetId()}
			answers[from[i]] = answer
		}
		addAnswer(answer, renewal.GetFence(), granted[i])
	}
	for s, answer := range answers {
		s.out.push(&runnerpb.Down{Kind: &runnerpb.Down_Renewed{Renewed: answer}})
	}
	return true
}

func addAnswer(answer *runnerpb.Renewed, fence *deploymentpb.Fence, granted bool) {
	if granted {
		answer.Fences = append(answer.Fences, fence)
		return
	}
	answer.Refused = append(answer.Refused, fence)
}
