package state

import (
	"slices"

	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
)

func execSessionTable() *table[*execpb.Session] {
	return &table[*execpb.Session]{
		name: "exec_sessions",
		id:   func(s *execpb.Session) []byte { return key{}.str(s.GetId()) },
		indexes: []index[*execpb.Session]{
			{name: "started", key: func(s *execpb.Session) []byte { return key{}.time(s.GetStartedAt()).str(s.GetId()) }},
			{name: "instance", key: func(s *execpb.Session) []byte { return whileRunning(s, s.GetInstanceId()) }},
			{name: "node", key: func(s *execpb.Session) []byte { return whileRunning(s, s.GetNodeId()) }},
		},
	}
}

// whileRunning is a key of a session that has not ended.
func whileRunning(s *execpb.Session, id string) []byte {
	if s.GetEndedAt() != nil {
		return nil
	}
	return key{}.str(id)
}

type execQueries struct{ *reader }

// ExecSession returns the record of an exec session.
func (q execQueries) ExecSession(id string) *execpb.Session {
	return q.tables.execSessions.get(q.reader, key{}.str(id))
}

// ExecSessions lists at most limit exec sessions, newest first; limit 0 is no
// limit. An empty instance id matches all; running leaves out those that have
// ended.
func (q execQueries) ExecSessions(ref *deploymentpb.AppRef, instanceID string, running bool, limit int) []*execpb.Session {
	return first(q.tables.execSessions.descend(q.reader, "started", nil), limit, func(s *execpb.Session) bool {
		return matches(ref, s.GetApp()) && (instanceID == "" || s.GetInstanceId() == instanceID) &&
			!(running && s.GetEndedAt() != nil)
	})
}

// ExecSessionsIn lists the sessions that run in an instance.
func (q execQueries) ExecSessionsIn(instanceID string) []*execpb.Session {
	return slices.Collect(q.tables.execSessions.ascend(q.reader, "instance", key{}.str(instanceID)))
}

// ExecSessionsOn lists the sessions that run and whose home is the node.
func (q execQueries) ExecSessionsOn(nodeID string) []*execpb.Session {
	return slices.Collect(q.tables.execSessions.ascend(q.reader, "node", key{}.str(nodeID)))
}

// ExecSessionsBeyond lists at most limit sessions that are older than the keep
// newest ones.
func (q execQueries) ExecSessionsBeyond(keep, limit int) []*execpb.Session {
	var list []*execpb.Session
	skipped := 0
	for s := range q.tables.execSessions.descend(q.reader, "started", nil) {
		switch {
		case skipped < keep:
			skipped++
		case len(list) < limit:
			list = append(list, s)
		default:
			return list
		}
	}
	return list
}
