package state

import (
	"waypoint/api/deploymentpb"
)

func buildTable() *table[*deploymentpb.Build] {
	return operationTable[*deploymentpb.Build]("builds")
}

func artifactTable() *table[*deploymentpb.Artifact] {
	return &table[*deploymentpb.Artifact]{
		name: "artifacts",
		id:   func(a *deploymentpb.Artifact) []byte { return key{}.str(a.GetId()) },
		indexes: []index[*deploymentpb.Artifact]{
			{name: "app", key: func(a *deploymentpb.Artifact) []byte { return refKey(a.GetApp()).time(a.GetCreatedAt()) }},
			{name: "created", key: func(a *deploymentpb.Artifact) []byte { return key{}.time(a.GetCreatedAt()) }},
		},
	}
}

type buildQueries struct{ *reader }

// Build returns a build.
func (q buildQueries) Build(id string) *deploymentpb.Build {
	return q.tables.builds.get(q.reader, key{}.str(id))
}

// Builds lists at most limit builds, newest first; limit 0 is no limit.
func (q buildQueries) Builds(ref *deploymentpb.AppRef, limit int) []*deploymentpb.Build {
	return first(newest(q.tables.builds, q.reader, ref), limit, all)
}

// BuildsOf lists the builds that a job's attempt made.
func (q buildQueries) BuildsOf(fence *deploymentpb.Fence) []*deploymentpb.Build {
	return first(q.tables.builds.ascend(q.reader, "fence", fenceKey(fence)), 0, all)
}

// Artifact returns what a build made.
func (q buildQueries) Artifact(id string) *deploymentpb.Artifact {
	return q.tables.artifacts.get(q.reader, key{}.str(id))
}

// Artifacts lists at most limit artifacts, newest first; limit 0 is no limit.
func (q buildQueries) Artifacts(ref *deploymentpb.AppRef, limit int) []*deploymentpb.Artifact {
	return first(newest(q.tables.artifacts, q.reader, ref), limit, all)
}

// LatestArtifact returns the newest artifact of the app.
func (q buildQueries) LatestArtifact(ref *deploymentpb.AppRef) *deploymentpb.Artifact {
	for a := range newest(q.tables.artifacts, q.reader, ref) {
		return a
	}
	return nil
}
