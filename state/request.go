package state

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/commandpb"
	"waypoint/internal/ids"
)

// RequestWindow is how long, from a request id's birth time, the state
// remembers what became of the request. Time is that of the entries.
const RequestWindow = 10 * time.Minute

// requestTable is the table of requests as the snapshot codec sees it. Its rows
// are in a requestLog: every command adds one and nobody changes it, nobody
// watches them, and they go by their age.
type requestTable struct{}

var _ rows = requestTable{}

func (requestTable) tableName() string { return "requests" }

func (requestTable) schema() *memdb.TableSchema { return nil }

func (requestTable) decode(data []byte) (proto.Message, []byte, error) {
	row := &commandpb.Request{}
	if err := proto.Unmarshal(data, row); err != nil {
		return nil, nil, err
	}
	return row, requestOrder(row.GetAt().AsTime(), row.GetRequestId(), row.GetTokenId()), nil
}

func (requestTable) every(r *reader) iter.Seq[proto.Message] { return r.requests.every() }

func (requestTable) accepts(proto.Message) bool { return false }

func (requestTable) same(*reader, proto.Message) proto.Message { return nil }

// requestOrder is the order of requests in a snapshot.
func requestOrder(born time.Time, id, token string) []byte {
	return key{}.instant(born).str(id).str(token)
}

const (
	// requestSpan is the time of birth that requests of one generation share.
	requestSpan = 10 * time.Second
	// requestChunk is how many requests are allocated together.
	requestChunk = 256
)

// requestLog remembers requests in generations by their time of birth, so that
// the old ones go all at once. What it holds is never changed, so that a frozen
// copy shares it.
type requestLog struct {
	mu          sync.RWMutex
	horizon     time.Time // requests born before it are not there
	generations map[int64]*generation
}

// generation holds requests in chunks that never move.
type generation struct {
	chunks [][]commandRequest
	byID   map[requestID]*commandRequest
}

type requestID struct{ token, id string }

// commandRequest is what a Request says, in less memory.
type commandRequest struct {
	requestID
	born   time.Time
	digest string
	result *commandpb.Result
}

func newRequestLog() *requestLog { return &requestLog{generations: map[int64]*generation{}} }

func generationOf(born time.Time) int64 { return born.UnixNano() / int64(requestSpan) }

// add remembers a request, which must be new. The result belongs to the log.
func (l *requestLog) add(r commandRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := generationOf(r.born)
	g := l.generations[at]
	if g == nil {
		g = &generation{byID: map[requestID]*commandRequest{}}
		l.generations[at] = g
	}
	last := len(g.chunks) - 1
	if last < 0 || len(g.chunks[last]) == requestChunk {
		g.chunks = append(g.chunks, make([]commandRequest, 0, requestChunk))
		last++
	}
	g.chunks[last] = append(g.chunks[last], r)
	g.byID[r.requestID] = &g.chunks[last][len(g.chunks[last])-1]
}

// find returns the request, or nil.
func (l *requestLog) find(token, id string) *commandRequest {
	born, err := ids.Time(id)
	if err != nil {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	g := l.generations[generationOf(born)]
	if g == nil || born.Before(l.horizon) {
		return nil
	}
	return g.byID[requestID{token, id}]
}

// forget drops the requests that were born before t.
func (l *requestLog) forget(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.horizon.Before(t) {
		return
	}
	l.horizon = t
	for at := range l.generations {
		if at < generationOf(t) {
			delete(l.generations, at)
		}
	}
}

// freeze returns a log to read that stays as this one is now.
func (l *requestLog) freeze() *requestLog {
	l.mu.RLock()
	defer l.mu.RUnlock()
	frozen := &requestLog{horizon: l.horizon, generations: make(map[int64]*generation, len(l.generations))}
	for at, g := range l.generations {
		frozen.generations[at] = &generation{chunks: slices.Clone(g.chunks)}
	}
	return frozen
}

// every yields the requests of a frozen log in the order of requestOrder.
func (l *requestLog) every() iter.Seq[proto.Message] {
	return func(more func(proto.Message) bool) {
		for _, at := range slices.Sorted(maps.Keys(l.generations)) {
			list := slices.Concat(l.generations[at].chunks...)
			slices.SortFunc(list, func(a, b commandRequest) int {
				return cmp.Or(a.born.Compare(b.born), cmp.Compare(a.id, b.id), cmp.Compare(a.token, b.token))
			})
			for _, r := range list {
				if !r.born.Before(l.horizon) && !more(r.row()) {
					return
				}
			}
		}
	}
}

func (r *commandRequest) row() *commandpb.Request {
	return &commandpb.Request{
		TokenId: r.token, RequestId: r.id, Digest: []byte(r.digest), Result: r.result, At: timestamppb.New(r.born),
	}
}

// remembered is the content of a row.
func remembered(row *commandpb.Request) commandRequest {
	return commandRequest{
		requestID: requestID{row.GetTokenId(), row.GetRequestId()},
		born:      row.GetAt().AsTime(), digest: string(row.GetDigest()), result: row.GetResult(),
	}
}

type requestQueries struct{ *reader }

// Request returns what became of a request of the token's holder.
func (q requestQueries) Request(tokenID, requestID string) *commandpb.Request {
	r := q.requests.find(tokenID, requestID)
	if r == nil {
		return nil
	}
	return r.row()
}

// Remember keeps what became of a request that is not known yet. The row's
// birth time must be that of its id. Abort does not undo it: it is the last that
// a command does.
func (w *WriteTx) Remember(row *commandpb.Request) { w.requests.add(remembered(row)) }

// ForgetRequests drops the requests whose ids were born before t.
func (w *WriteTx) ForgetRequests(t time.Time) { w.requests.forget(t) }
