package session

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/internal/task"
	"waypoint/logs"
	"waypoint/state"
)

// RowApplier puts rows about what is attached into the replicated state.
type RowApplier interface {
	Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error)
}

// InstancesConfig is what a registry of instances needs. Zero durations and
// sizes stand for the defaults.
type InstancesConfig struct {
	NodeID  string
	BootID  string
	Store   *state.Store
	Applier RowApplier
	// Open opens a sealed configuration value.
	Open func(envelope, aad []byte) ([]byte, error)
	// Servers returns the addresses of all members, OtherServers those of all
	// but this node.
	Servers      func() []string
	OtherServers func() []string
	// Now is the cluster's time, by which the age of requests is judged. Default:
	// time.Now.
	Now    func() time.Time
	Logger hclog.Logger

	RingBytes   int           // kept log lines per instance, while LogBudget lasts; 16 MiB
	LogBudget   int64         // kept log lines of all instances; 64 MiB
	KeepRings   time.Duration // of instances that left; 1 hour
	IdleTimeout time.Duration // a stream that says nothing for so long, or an eighth more, is dropped; 45 s
	ExecTimeout time.Duration // for an entrypoint to take up an exec session; 10 s
	Heartbeat   time.Duration // between signs of life on a quiet log stream; 15 s
	Reconcile   time.Duration // pause before rows of this node are compared with its streams; 2 s
}

const (
	helloTimeout      = 10 * time.Second // for the first message of an attach
	deploymentTimeout = time.Second      // for a deployment's row to arrive here
	housekeeping      = time.Minute
)

func (c InstancesConfig) withDefaults() InstancesConfig {
	orBytes := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orTime := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	orBytes(&c.RingBytes, 16<<20)
	if c.LogBudget == 0 {
		c.LogBudget = 64 << 20
	}
	orTime(&c.KeepRings, time.Hour)
	orTime(&c.IdleTimeout, 45*time.Second)
	orTime(&c.ExecTimeout, 10*time.Second)
	orTime(&c.Heartbeat, 15*time.Second)
	orTime(&c.Reconcile, 2*time.Second)
	return c
}

// Instances is the registry of the instances attached to this node.
type Instances struct {
	cfg      InstancesConfig
	rows     *rows
	records  *execRecords
	logBytes logBytes
	started  chan struct{}   // closed when Run has begun
	leaving  chan struct{}   // closed when its context has ended
	base     context.Context // Run's, once it has begun

	life   sync.Mutex
	closed bool // nothing is spawned any more
	tasks  sync.WaitGroup

	mu       sync.Mutex
	draining bool
	byID     map[string]*instance
	groups   map[string]*group // by deployment id
	execs    map[string]*execSession
	live     int           // attached now
	empty    chan struct{} // closed when live becomes 0; nil while nobody waits
}

// instance is a process known here, attached or not. Fields are guarded by
// Instances.mu; the ring guards itself.
type instance struct {
	id         string
	deployment string
	generation uint64 // newest seen
	ring       *logs.Ring
	live       *attach   // nil after it left
	left       time.Time // when it left
	exited     bool      // its process has said goodbye
}

// NewInstances returns an empty registry. Streams wait until Run is called.
func NewInstances(cfg InstancesConfig) *Instances {
	cfg = cfg.withDefaults()
	return &Instances{
		cfg:     cfg,
		rows:    newRows(cfg),
		records: newExecRecords(cfg),
		started: make(chan struct{}),
		leaving: make(chan struct{}),
		byID:    map[string]*instance{},
		groups:  map[string]*group{},
		execs:   map[string]*execSession{},
	}
}

// Run keeps the registry's rows in the replicated state, until ctx ends. Then
// it ends every stream and waits for all it has started.
func (in *Instances) Run(ctx context.Context) error {
	base, cancel := context.WithCancelCause(ctx)
	in.base, in.rows.refused = base, in.rowRefused
	close(in.started)
	err := task.Run(ctx, in.rows.run, in.records.run, in.reconcile, turns{in}.run, in.endSilent, in.housekeep)

	close(in.leaving)
	cancel(errShutdown())
	in.life.Lock()
	in.closed = true
	in.life.Unlock()
	in.tasks.Wait()
	in.records.flush(context.WithoutCancel(ctx))
	return err
}

func errShutdown() error {
	return errs.New(errs.Unavailable, "this node is shutting down: use another one")
}

// Leaving is closed when this node ends what is attached to it.
func (in *Instances) Leaving() <-chan struct{} { return in.leaving }

// spawn starts fn, for which Run waits. It returns false after the end of Run.
// A panic in fn is logged and does not end the node.
func (in *Instances) spawn(fn func()) bool {
	in.life.Lock()
	defer in.life.Unlock()
	if in.closed {
		return false
	}
	in.tasks.Go(survivor(in.cfg.Logger, fn))
	return true
}

// enter returns ctx, which then also ends with Run, once Run has begun.
func (in *Instances) enter(ctx context.Context) (context.Context, context.CancelCauseFunc, error) {
	if err := in.begun(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(in.base, func() { cancel(context.Cause(in.base)) })
	return ctx, func(cause error) { stop(); cancel(cause) }, nil
}

// hold counts in a stream, once Run has begun: Run ends it with end, and waits
// until it is released.
func (in *Instances) hold(ctx context.Context, end context.CancelCauseFunc) (release func(), err error) {
	if err := in.begun(ctx); err != nil {
		return nil, err
	}
	in.life.Lock()
	defer in.life.Unlock()
	if in.closed {
		return nil, errShutdown()
	}
	in.tasks.Add(1)
	stop := context.AfterFunc(in.base, func() { end(context.Cause(in.base)) })
	return func() { stop(); in.tasks.Done() }, nil
}

// begun waits until Run has begun.
func (in *Instances) begun(ctx context.Context) error {
	select {
	case <-in.started:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// housekeep forgets rings whose time is over.
func (in *Instances) housekeep(ctx context.Context) error {
	ticker := time.NewTicker(housekeeping)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			in.forget(now.Add(-in.cfg.KeepRings))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Row returns what the replicated row of an instance is to say, if it is
// attached here; nil if it is not. Without a quorum this node knows it alone.
func (in *Instances) Row(id string) *deploymentpb.Instance {
	in.mu.Lock()
	defer in.mu.Unlock()
	inst := in.byID[id]
	if inst == nil || inst.live == nil {
		return nil
	}
	return inst.live.row
}

// Attached returns how many instances are attached now.
func (in *Instances) Attached() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.live
}
