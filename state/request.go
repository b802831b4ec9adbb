package state

import (
	"time"

	"waypoint/api/commandpb"
)

// RequestWindow is how long, from a request id's birth time, the state
// remembers what became of the request. Time is that of the entries.
const RequestWindow = 10 * time.Minute

func requestTable() *table[*commandpb.Request] {
	return &table[*commandpb.Request]{
		name: "requests",
		id:   func(r *commandpb.Request) []byte { return key{}.str(r.GetTokenId()).str(r.GetRequestId()) },
		indexes: []index[*commandpb.Request]{
			{name: "born", key: requestBorn},
		},
	}
}

func requestBorn(r *commandpb.Request) []byte { return key{}.time(r.GetAt()) }

type requestQueries struct{ *reader }

// Request returns what became of a request of the token's holder.
func (q requestQueries) Request(tokenID, requestID string) *commandpb.Request {
	return q.tables.requests.get(q.reader, key{}.str(tokenID).str(requestID))
}

// RequestsBornBefore lists at most limit requests whose ids are older.
func (q requestQueries) RequestsBornBefore(t time.Time, limit int) []*commandpb.Request {
	return before(q.tables.requests, q.reader, "born", t, requestBorn, limit)
}
