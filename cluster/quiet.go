package cluster

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// sayAgain is how long a warning or error of Raft about one peer is not
// repeated: Raft says several times a second that a peer is down, as long as
// that lasts.
const sayAgain = time.Minute

// quiet passes Raft's words on, but of the same warning or error about the same
// peer only the first in a while, with the number of those left out before it.
type quiet struct {
	hclog.Logger
	now func() time.Time

	mu   sync.Mutex
	said map[string]*repeated
}

type repeated struct {
	at   time.Time
	left int // out since
}

func newQuiet(logger hclog.Logger, now func() time.Time) *quiet {
	return &quiet{Logger: logger, now: now, said: map[string]*repeated{}}
}

// Warn implements hclog.Logger.
func (q *quiet) Warn(msg string, args ...any) {
	if args, ok := q.pass(msg, args); ok {
		q.Logger.Warn(msg, args...)
	}
}

// Error implements hclog.Logger.
func (q *quiet) Error(msg string, args ...any) {
	if args, ok := q.pass(msg, args); ok {
		q.Logger.Error(msg, args...)
	}
}

// pass decides about a message. What it does not know to be about a peer is
// never left out.
func (q *quiet) pass(msg string, args []any) ([]any, bool) {
	peer := ""
	for i := 0; i+1 < len(args); i += 2 {
		if name := args[i]; name == "peer" || name == "server-id" || name == "target" {
			peer = fmt.Sprint(args[i+1])
		}
	}
	if peer == "" {
		return args, true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now, key := q.now(), msg+"\x00"+peer
	before := q.said[key]
	if before != nil && now.Sub(before.at) < sayAgain {
		before.left++
		return nil, false
	}
	q.said[key] = &repeated{at: now}
	for k, r := range q.said { // few: messages times peers
		if now.Sub(r.at) > 2*sayAgain {
			delete(q.said, k)
		}
	}
	if before != nil && before.left > 0 {
		args = append(args[:len(args):len(args)], "left-out", before.left)
	}
	return args, true
}
