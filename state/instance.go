package state

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"waypoint/api/deploymentpb"
)

func instanceTable() *table[*deploymentpb.Instance] {
	return &table[*deploymentpb.Instance]{
		name: "instances",
		id:   func(i *deploymentpb.Instance) []byte { return key{}.str(i.GetId()) },
		indexes: []index[*deploymentpb.Instance]{
			{name: "app", key: func(i *deploymentpb.Instance) []byte { return refKey(i.GetApp()) }},
			{name: "deployment", key: func(i *deploymentpb.Instance) []byte { return key{}.str(i.GetDeploymentId()) }},
			{name: "node", key: func(i *deploymentpb.Instance) []byte { return key{}.str(i.GetNodeId()) }},
			{name: "away", key: instanceAway},
		},
	}
}

// instanceAway is since when an instance has not been attached.
func instanceAway(i *deploymentpb.Instance) []byte {
	if i.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED {
		return nil
	}
	return key{}.time(i.GetChangedAt())
}

type instanceQueries struct{ *reader }

// Instance returns a running copy of a deployment, or one that once ran.
func (q instanceQueries) Instance(id string) *deploymentpb.Instance {
	return q.tables.instances.get(q.reader, key{}.str(id))
}

// Instances lists instances by app and then newest deployment first, those
// that have exited only if ended is set. An empty deployment id matches all.
func (q instanceQueries) Instances(ref *deploymentpb.AppRef, deploymentID string, ended bool) []*deploymentpb.Instance {
	var rows iter.Seq[*deploymentpb.Instance]
	if deploymentID != "" {
		rows = q.tables.instances.ascend(q.reader, "deployment", key{}.str(deploymentID))
	} else {
		rows = q.tables.instances.ascend(q.reader, "app", refPrefix(ref))
	}
	list := first(rows, 0, func(i *deploymentpb.Instance) bool {
		gone := i.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_EXITED
		return matches(ref, i.GetApp()) && (ended || !gone)
	})
	slices.SortFunc(list, byAppThenNewest)
	return list
}

func byAppThenNewest(a, b *deploymentpb.Instance) int {
	return cmp.Or(
		strings.Compare(string(refKey(a.GetApp())), string(refKey(b.GetApp()))),
		cmp.Compare(b.GetDeploymentSequence(), a.GetDeploymentSequence()),
		strings.Compare(a.GetId(), b.GetId()),
	)
}

// InstancesOfNode lists the instances whose home is or last was the node.
func (q instanceQueries) InstancesOfNode(nodeID string) []*deploymentpb.Instance {
	return slices.Collect(q.tables.instances.ascend(q.reader, "node", key{}.str(nodeID)))
}

// InstancesAwayBefore lists at most limit instances that have not been
// attached since before the time.
func (q instanceQueries) InstancesAwayBefore(t time.Time, limit int) []*deploymentpb.Instance {
	return before(q.tables.instances, q.reader, "away", t, instanceAway, limit)
}
