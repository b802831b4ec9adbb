package state

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"waypoint/api/deploymentpb"
)

// MaxRestartTurns bounds the turns to restart of one command, so that an entry
// never takes long.
const MaxRestartTurns = 1000

func instanceTable() *table[*deploymentpb.Instance] {
	return &table[*deploymentpb.Instance]{
		name: "instances",
		id:   func(i *deploymentpb.Instance) []byte { return key{}.str(i.GetId()) },
		indexes: []index[*deploymentpb.Instance]{
			{name: "app", key: func(i *deploymentpb.Instance) []byte { return refKey(i.GetApp()) }},
			{name: "deployment", key: func(i *deploymentpb.Instance) []byte { return key{}.str(i.GetDeploymentId()) }},
			{name: "node", key: func(i *deploymentpb.Instance) []byte { return key{}.str(i.GetNodeId()) }},
			{name: "away", key: instanceAway},
			{name: "wanted", key: restartWanted},
			{name: "turn", key: restartTurn},
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

// restartWanted is the configuration that an attached instance wants to restart
// for.
func restartWanted(i *deploymentpb.Instance) []byte {
	if i.GetState() != deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED || len(i.GetRestartWanted()) == 0 {
		return nil
	}
	return key{}.str(i.GetDeploymentId()).str(string(i.GetRestartWanted()))
}

// restartTurn is the home node of an instance whose turn to restart has come.
func restartTurn(i *deploymentpb.Instance) []byte {
	if restartWanted(i) == nil || !i.RestartDue() || !bytes.Equal(i.GetTurn().GetConfig(), i.GetRestartWanted()) {
		return nil
	}
	return key{}.str(i.GetNodeId())
}

// RestartTried returns the configuration that an instance's newest turn to
// restart was for, or if it has restarted, the one that it restarted with.
func RestartTried(i *deploymentpb.Instance) []byte {
	if i.GetTurn() != nil && !i.RestartDue() && len(i.GetChildConfig()) > 0 {
		return i.GetChildConfig()
	}
	return i.GetTurn().GetConfig()
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

// InstancesOfDeployment lists all instances of a deployment, by id.
func (q instanceQueries) InstancesOfDeployment(id string) []*deploymentpb.Instance {
	return slices.Collect(q.tables.instances.ascend(q.reader, "deployment", key{}.str(id)))
}

// DeploymentsWantingRestarts lists the ids of the deployments that have attached
// instances which want to restart for a newer configuration. While there are
// none, nothing that instances do changes the answer.
func (q instanceQueries) DeploymentsWantingRestarts() []string {
	var ids []string
	for i := range q.tables.instances.ascend(q.reader, "wanted", nil) {
		if len(ids) == 0 || ids[len(ids)-1] != i.GetDeploymentId() {
			ids = append(ids, i.GetDeploymentId())
		}
	}
	return ids
}

// InstancesToRestart lists the instances attached to the node whose turn to
// restart has come and which have not used it yet.
func (q instanceQueries) InstancesToRestart(nodeID string) []*deploymentpb.Instance {
	return slices.Collect(q.tables.instances.ascend(q.reader, "turn", key{}.str(nodeID)))
}

// InstancesAwayBefore lists at most limit instances that have not been
// attached since before the time, oldest first. It leaves out those whose turn
// to restart was for a configuration that others of their deployment still
// wait for, unless they were asked to end: what became of them tells whether
// those may follow.
func (q instanceQueries) InstancesAwayBefore(t time.Time, limit int) []*deploymentpb.Instance {
	end := string(key{}.instant(t))
	var list []*deploymentpb.Instance
	for i := range q.tables.instances.ascend(q.reader, "away", nil) {
		if len(list) >= limit || string(instanceAway(i)) >= end {
			break
		}
		if i.GetTurn() == nil || i.GetAskedToEnd() || !q.wanted(i.GetDeploymentId(), RestartTried(i)) {
			list = append(list, i)
		}
	}
	return list
}

// wanted tells whether attached instances of the deployment want to restart for
// the configuration.
func (q instanceQueries) wanted(deploymentID string, config []byte) bool {
	for range q.tables.instances.ascend(q.reader, "wanted", key{}.str(deploymentID).str(string(config))) {
		return true
	}
	return false
}
