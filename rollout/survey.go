package rollout

import (
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/deploymentpb"
	"waypoint/state"
)

// survey is how the instances of a deployment are at one moment. It follows from
// their rows and the time alone.
//
// An instance is available if it is attached, its child has run for Settle, and
// it has no turn to restart that it may be using. One that restarted for a
// configuration that others wait for must have run for FirstHold, until any
// instance has with that configuration: the first to take it up show whether it
// is one to live with. One that has been away for Patience is gone: the platform
// has replaced it or does not want it any more. But if it went within Patience
// of its turn and nobody had asked it to it is broken: the configuration that it
// tried may be the reason, so while others want that one too it counts as away.
// So does one that has not used its turn within Patience. An instance
// that has come since makes up for a broken one when it has held out for
// Patience; a shorter time would let a platform that starts what ends again and
// again feed all the rest to a configuration that ends them.
type survey struct {
	Timing
	now time.Time

	wanted      map[string]bool // configurations that attached instances want to restart for
	held        map[string]bool // of those, with which an instance has run for FirstHold
	present     int             // instances that are neither gone nor broken
	unavailable int             // of those
	stuck       int             // of those, available but with a turn that was not used in time
	broken      int
	blamed      map[string]bool // configurations that the stuck and the broken tried
	firstBroken time.Time       // when the first of the broken got its turn
	newcomers   int             // present ones that began after that
	proven      int             // of those, which make up for a broken one each

	again  []*deploymentpb.Instance // want a turn and may be using one for another configuration
	free   []*deploymentpb.Instance // want a turn and are available
	away   []*deploymentpb.Instance // want a turn and are not available
	budget int                      // how many may be away at a time
	next   time.Duration            // until something changes by itself; 0: never
}

// take surveys the rows of one deployment.
func take(rows []*deploymentpb.Instance, now time.Time, timing Timing) *survey {
	s := &survey{Timing: timing, now: now, wanted: map[string]bool{}, held: map[string]bool{}, blamed: map[string]bool{}}
	for _, i := range rows {
		if attached(i) && len(i.GetRestartWanted()) > 0 {
			s.wanted[string(i.GetRestartWanted())] = true
		}
	}
	var present []*deploymentpb.Instance
	for _, i := range rows {
		if config := string(i.GetChildConfig()); runs(i) && s.wanted[config] && now.Sub(i.GetChildSince().AsTime()) >= s.FirstHold {
			s.held[config] = true
		}
		if s.comes(i) {
			present = append(present, i)
		}
	}
	for _, i := range present {
		s.count(i)
	}
	return s
}

func attached(i *deploymentpb.Instance) bool {
	return i.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED
}

// runs tells whether an instance has a child and can be told to restart it.
func runs(i *deploymentpb.Instance) bool { return attached(i) && i.GetChildPid() != 0 }

// comes tells whether an instance is there or expected back, and takes note of
// those that are broken.
func (s *survey) comes(i *deploymentpb.Instance) bool {
	if runs(i) {
		return true
	}
	left := i.GetChangedAt()
	if attached(i) {
		left = i.GetChildSince()
	}
	if i.GetState() != deploymentpb.InstanceState_INSTANCE_STATE_EXITED && s.within(s.Patience, left) {
		return true
	}
	turn := i.GetTurn()
	if turn == nil || i.GetAskedToEnd() || !s.wanted[string(state.RestartTried(i))] || left.AsTime().Sub(turn.GetAt().AsTime()) >= s.Patience {
		return false
	}
	if at := turn.GetAt().AsTime(); s.broken == 0 || at.Before(s.firstBroken) {
		s.firstBroken = at
	}
	s.blamed[string(state.RestartTried(i))] = true
	s.broken++
	return false
}

// count takes an instance into account that is there or expected back.
func (s *survey) count(i *deploymentpb.Instance) {
	s.present++
	available := runs(i)
	switch {
	case !available:
	case !i.RestartDue() || len(i.GetRestartWanted()) == 0: // a turn that it does not want any more comes to nothing
		available = !s.within(s.hold(i), i.GetChildSince())
	case s.within(s.Patience, i.GetTurn().GetAt()):
		available = false
	case s.wanted[string(i.GetTurn().GetConfig())]:
		s.blamed[string(i.GetTurn().GetConfig())] = true
		s.stuck++
	}
	if !available {
		s.unavailable++
	}
	if s.broken > 0 && i.GetStartedAt().AsTime().After(s.firstBroken) {
		s.newcomers++
		if available && s.wanted[string(i.GetChildConfig())] && !s.within(s.Patience, i.GetChildSince()) {
			s.proven++
		}
	}
	switch {
	case !runs(i) || len(i.GetRestartWanted()) == 0:
	case i.RestartDue() && string(i.GetTurn().GetConfig()) == string(i.GetRestartWanted()):
	case available:
		s.free = append(s.free, i)
	case i.RestartDue():
		s.again = append(s.again, i)
	default:
		s.away = append(s.away, i)
	}
}

// hold is how long an instance's child must have run to count as available.
func (s *survey) hold(i *deploymentpb.Instance) time.Duration {
	tried := i.GetTurn() != nil && !i.RestartDue()
	if tried && s.wanted[string(i.GetChildConfig())] && !s.held[string(i.GetChildConfig())] {
		return max(s.Settle, s.FirstHold)
	}
	return s.Settle
}

// within tells whether t is less than d ago, and notes when it will not be.
func (s *survey) within(d time.Duration, t *timestamppb.Timestamp) bool {
	left := t.AsTime().Add(d).Sub(s.now)
	if left <= 0 {
		return false
	}
	if s.next == 0 || left < s.next {
		s.next = left
	}
	return true
}

// missing is how many broken instances nothing makes up for.
func (s *survey) missing() int { return max(0, s.broken-s.proven) }

// turns returns the instances whose turn it is: those that have run longest
// first, since they are the likeliest to run on if the configuration is good.
// One that is not available anyway takes nobody's place, but it comes last: it
// may be one that ends again and again with any configuration, and would be
// taken for the proof that this one is bad. Nor does it get a turn while too
// many others are away: they may all have begun at the same time.
func (s *survey) turns(limit func(size int) int) []*deploymentpb.Instance {
	s.budget = limit(s.present + max(0, s.broken-s.newcomers))
	slices.SortStableFunc(s.free, func(a, b *deploymentpb.Instance) int {
		return a.GetChildSince().AsTime().Compare(b.GetChildSince().AsTime())
	})
	left := s.budget - s.unavailable - s.stuck - s.missing()
	switch {
	case left < 0:
		return nil
	case left < len(s.free):
		return append(s.again, s.free[:left]...)
	}
	return slices.Concat(s.again, s.free, s.away)
}

// waiting is how many instances want a turn.
func (s *survey) waiting() int { return len(s.again) + len(s.free) + len(s.away) }

// halted tells whether nobody gets a turn because of those that had theirs.
func (s *survey) halted(turns int) bool {
	return turns == 0 && s.waiting() > 0 && s.stuck+s.missing() >= s.budget
}

// names is one text for a set of configurations.
func names(configs map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(configs)), " ")
}
