package state

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"waypoint/api/runnerpb"
)

func runnerTable() *table[*runnerpb.Runner] {
	return &table[*runnerpb.Runner]{
		name: "runners",
		id:   func(r *runnerpb.Runner) []byte { return key{}.str(r.GetId()) },
		indexes: []index[*runnerpb.Runner]{
			{name: "node", key: func(r *runnerpb.Runner) []byte { return key{}.str(r.GetNodeId()) }},
			{name: "away", key: runnerAway},
		},
	}
}

// runnerAway is since when a runner has not been attached.
func runnerAway(r *runnerpb.Runner) []byte {
	if r.GetState() == runnerpb.State_STATE_ATTACHED {
		return nil
	}
	return key{}.time(r.GetChangedAt())
}

type runnerQueries struct{ *reader }

// Runner returns a runner process.
func (q runnerQueries) Runner(id string) *runnerpb.Runner {
	return q.tables.runners.get(q.reader, key{}.str(id))
}

// Runners lists all runners, attached or not, sorted by name.
func (q runnerQueries) Runners() []*runnerpb.Runner {
	list := slices.Collect(q.tables.runners.ascend(q.reader, primary, nil))
	slices.SortFunc(list, func(a, b *runnerpb.Runner) int {
		return cmp.Or(strings.Compare(a.GetName(), b.GetName()), strings.Compare(a.GetId(), b.GetId()))
	})
	return list
}

// RunnersOfNode lists the runners whose home is or last was the node.
func (q runnerQueries) RunnersOfNode(nodeID string) []*runnerpb.Runner {
	return slices.Collect(q.tables.runners.ascend(q.reader, "node", key{}.str(nodeID)))
}

// RunnersAwayBefore lists at most limit runners that have not been attached
// since before the time.
func (q runnerQueries) RunnersAwayBefore(t time.Time, limit int) []*runnerpb.Runner {
	return before(q.tables.runners, q.reader, "away", t, runnerAway, limit)
}
