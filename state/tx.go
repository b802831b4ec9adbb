package state

import (
	"github.com/hashicorp/go-memdb"
)

// Tx reads the state as it was at one moment. Every kind of object adds its
// queries. What they return is shared with other readers: clone a message
// before changing it. A missing object is nil.
//
// A reference or filter field that is empty matches everything. Lists of
// operations are newest first, lists of named things are sorted by name.
type Tx struct {
	*reader
	metaQueries
	nodeQueries
	tokenQueries
	projectQueries
	configQueries
	buildQueries
	deploymentQueries
	releaseQueries
	instanceQueries
	runnerQueries
	jobQueries
	requestQueries
	execQueries
}

// reader is what queries need: a consistent view and where to note what was
// looked at.
type reader struct {
	tables   *tables
	txn      *memdb.Txn
	requests *requestLog
	abandon  <-chan struct{}
	watches  *WatchSet // nil: nothing is noted
}

func newTx(r *reader) *Tx {
	return &Tx{
		reader:            r,
		metaQueries:       metaQueries{r},
		nodeQueries:       nodeQueries{r},
		tokenQueries:      tokenQueries{r},
		projectQueries:    projectQueries{r},
		configQueries:     configQueries{r},
		buildQueries:      buildQueries{r},
		deploymentQueries: deploymentQueries{r},
		releaseQueries:    releaseQueries{r},
		instanceQueries:   instanceQueries{r},
		runnerQueries:     runnerQueries{r},
		jobQueries:        jobQueries{r},
		requestQueries:    requestQueries{r},
		execQueries:       execQueries{r},
	}
}

// Watch returns the same view whose queries note in ws what they looked at,
// and that the state may be replaced by a restore.
func (r *reader) Watch(ws *WatchSet) *Tx {
	watched := *r
	watched.watches = ws
	ws.add(r.abandon)
	return newTx(&watched)
}

func (r *reader) observe(ch <-chan struct{}) {
	if r.watches != nil {
		r.watches.add(ch)
	}
}
