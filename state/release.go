package state

import (
	"waypoint/api/deploymentpb"
)

func releaseTable() *table[*deploymentpb.Release] {
	return operationTable[*deploymentpb.Release]("releases")
}

type releaseQueries struct{ *reader }

// Release returns a release.
func (q releaseQueries) Release(id string) *deploymentpb.Release {
	return q.tables.releases.get(q.reader, key{}.str(id))
}

// Releases lists at most limit releases, newest first; limit 0 is no limit.
func (q releaseQueries) Releases(ref *deploymentpb.AppRef, limit int) []*deploymentpb.Release {
	return first(newest(q.tables.releases, q.reader, ref), limit, all)
}

// ReleasesOf lists the releases that a job's attempt made.
func (q releaseQueries) ReleasesOf(fence *deploymentpb.Fence) []*deploymentpb.Release {
	return first(q.tables.releases.ascend(q.reader, "fence", fenceKey(fence)), 0, all)
}

// CurrentRelease returns the newest release that succeeded: the one that the
// app's workspace points at.
func (q releaseQueries) CurrentRelease(ref *deploymentpb.AppRef) *deploymentpb.Release {
	for r := range newest(q.tables.releases, q.reader, ref) {
		if r.GetStatus() == deploymentpb.Status_STATUS_SUCCEEDED {
			return r
		}
	}
	return nil
}
