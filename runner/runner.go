// Package runner is the process side of jobs: it keeps a session with the
// cluster, takes the jobs it is given, and carries them out through plugins, stage
// by stage, by the project file.
//
// A job's attempt goes on when the session breaks and resumes on another node. It
// stops by this machine's own clock when its lease could not be renewed in time.
// The runner must not know any plugin but by its interface.
package runner

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/plugin"
)

// Cluster is the connection to the cluster. *client.Client is one.
type Cluster interface {
	Conn() grpc.ClientConnInterface
	LearnServers(addrs []string)
	Current() string
	Avoid(addr string)
	Prefer(addrs []string)
	Rebalance() <-chan struct{}
}

// Config says what a runner is.
type Config struct {
	Client Cluster
	Name   string            // for people; default: the host
	Local  bool              // inside a CLI: takes only jobs aimed at its id
	Host   string            // stable name of this machine; default: the system's
	Labels map[string]string // for the targets of jobs
	Slots  int               // jobs at a time; default: 1
	// EntrypointBinary is the path of waypoint-entrypoint. By default it is
	// looked for beside this program and then in PATH, when it is needed.
	EntrypointBinary string
	Plugins          *plugin.Table // default: BuiltIn
	Logger           hclog.Logger
}

// The causes for which an attempt stops before its end.
var (
	errStopped   = errors.New("the runner was stopped")
	errCanceled  = errors.New("the job was cancelled")
	errStale     = errors.New("the attempt is not the job's current one any more")
	errLeaseLost = errors.New("the attempt's lease could not be renewed in time")
)

const (
	answerWait = 5 * time.Second // for the record of what has ended, when the runner stops
	maxSeen    = 4096            // attempts that are remembered in order not to begin twice
)

// Runner is one runner.
type Runner struct {
	config   Config
	id       string
	attached chan struct{}
	wake     chan struct{} // holds a token while the session may have something to send
	once     sync.Once     // closes attached
	tasks    sync.WaitGroup

	mu       sync.Mutex
	stopping bool
	works    map[workKey]*work
	seen     map[workKey]bool
	order    []workKey     // of seen, oldest first
	idle     chan struct{} // closed when works is empty while stopping
}

// New returns a runner. Run makes it work.
func New(config Config) *Runner {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if config.Host == "" {
		config.Host = host
	}
	if config.Name == "" {
		config.Name = config.Host
	}
	if config.Slots == 0 {
		config.Slots = 1
	}
	if config.Logger == nil {
		config.Logger = hclog.NewNullLogger()
	}
	return &Runner{
		config:   config,
		id:       ids.New(),
		attached: make(chan struct{}),
		wake:     make(chan struct{}, 1),
		works:    map[workKey]*work{},
		seen:     map[workKey]bool{},
		idle:     make(chan struct{}),
	}
}

// ID returns the runner's id, to aim jobs at.
func (r *Runner) ID() string { return r.id }

// Attached is closed when the runner has been welcomed for the first time.
func (r *Runner) Attached() <-chan struct{} { return r.attached }

// Run works until ctx ends. Then it ends what it is doing, tells the cluster,
// and returns ctx's error. A refusal that will not change, such as a revoked
// token, ends it too.
func (r *Runner) Run(ctx context.Context) error {
	if r.config.Plugins == nil {
		table, err := BuiltIn()
		if err != nil {
			return err
		}
		r.config.Plugins = table
	}
	alive, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	refused := make(chan error, 1)
	var sessions sync.WaitGroup
	sessions.Go(func() { refused <- r.sessions(alive) })
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-refused:
	}
	r.stop(alive)
	end(errGoodbye)
	sessions.Wait()
	return err
}

// stop ends all work and waits until it has ended and, for a moment, until that
// has been recorded.
func (r *Runner) stop(ctx context.Context) {
	r.mu.Lock()
	r.stopping = true
	for _, w := range r.works {
		w.stop(errStopped)
	}
	if len(r.works) == 0 {
		close(r.idle)
	}
	r.mu.Unlock()
	r.tasks.Wait()
	timer := time.NewTimer(answerWait)
	defer timer.Stop()
	select {
	case <-r.idle:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// assign begins an attempt, unless it has been begun before.
func (r *Runner) assign(ctx context.Context, assign *runnerpb.Assign) {
	w := newWork(r, assign)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping || r.seen[w.key] {
		return
	}
	r.remember(w.key)
	r.works[w.key] = w
	r.config.Logger.Info("job assigned", "job", w.key.job, "attempt", w.key.attempt)
	ctx, w.cancel = context.WithCancelCause(ctx)
	r.tasks.Go(func() { w.run(ctx) })
	r.signal()
}

// remember notes an attempt. The caller holds mu.
func (r *Runner) remember(key workKey) {
	r.seen[key] = true
	r.order = append(r.order, key)
	if len(r.order) > maxSeen {
		delete(r.seen, r.order[0])
		r.order = r.order[1:]
	}
}

// forget drops an attempt whose end has been recorded or does not matter.
func (r *Runner) forget(key workKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.works[key]; !ok {
		return
	}
	delete(r.works, key)
	if r.stopping && len(r.works) == 0 {
		close(r.idle)
	}
}

// work returns an attempt that is not forgotten, or nil.
func (r *Runner) work(key workKey) *work {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.works[key]
}

// current returns all attempts that are not forgotten.
func (r *Runner) current() []*work {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*work, 0, len(r.works))
	for _, w := range r.works {
		list = append(list, w)
	}
	return list
}

// signal tells the session that there may be something to send.
func (r *Runner) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// permanent tells whether a session was refused for a reason that does not
// pass by itself.
func permanent(err error) bool {
	switch errs.KindOf(err) {
	case errs.Unauthenticated, errs.PermissionDenied, errs.Protocol, errs.Invalid, errs.Unimplemented:
		return true
	}
	return false
}
