package state

import (
	"waypoint/api/deploymentpb"
)

func deploymentTable() *table[*deploymentpb.Deployment] {
	return operationTable[*deploymentpb.Deployment]("deployments")
}

type deploymentQueries struct{ *reader }

// Deployment returns a deployment, destroyed or not.
func (q deploymentQueries) Deployment(id string) *deploymentpb.Deployment {
	return q.tables.deployments.get(q.reader, key{}.str(id))
}

// Deployments lists at most limit deployments, newest first, those that are
// destroyed only if asked for; limit 0 is no limit.
func (q deploymentQueries) Deployments(ref *deploymentpb.AppRef, destroyed bool, limit int) []*deploymentpb.Deployment {
	return first(newest(q.tables.deployments, q.reader, ref), limit, func(d *deploymentpb.Deployment) bool {
		return destroyed || d.GetStatus() != deploymentpb.Status_STATUS_DESTROYED
	})
}

// DeploymentsOf lists the deployments that a job's attempt made.
func (q deploymentQueries) DeploymentsOf(fence *deploymentpb.Fence) []*deploymentpb.Deployment {
	return first(q.tables.deployments.ascend(q.reader, "fence", fenceKey(fence)), 0, all)
}
