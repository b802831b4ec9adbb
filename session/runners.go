package session

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/deploymentpb"
	"waypoint/api/nodepb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/headtail"
	"waypoint/internal/task"
	"waypoint/state"
)

// RunnersConfig is what a registry of runners needs. Zero durations and sizes
// stand for the defaults.
type RunnersConfig struct {
	NodeID  string
	BootID  string
	Store   *state.Store
	Applier RowApplier
	// RenewLeases asks the leader and answers for each renewal. An error says
	// nothing about any of them.
	RenewLeases func(ctx context.Context, renewals []*nodepb.Renewal) ([]bool, error)
	// Servers returns the addresses of all members, OtherServers those of all
	// but this node.
	Servers      func() []string
	OtherServers func() []string
	// Now is the cluster's time, by which the age of requests is judged. Default:
	// time.Now.
	Now    func() time.Time
	Logger hclog.Logger

	Lease       time.Duration // what runners are told; 15 s
	OutputBytes int           // kept output per attempt; 1 MiB
	IdleTimeout time.Duration // a stream that says nothing for so long is dropped; 45 s
	Heartbeat   time.Duration // between signs of life on a quiet output stream; 15 s
}

func (c RunnersConfig) withDefaults() RunnersConfig {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Lease == 0 {
		c.Lease = 15 * time.Second
	}
	if c.OutputBytes == 0 {
		c.OutputBytes = 1 << 20
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 45 * time.Second
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 15 * time.Second
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

const (
	outputChunk = 31 << 10 // bytes of output per message
	maxSlots    = 256      // of one runner
)

// Runners is the registry of the runners attached to this node.
type Runners struct {
	cfg     RunnersConfig
	life    lifeline
	toSync  chan struct{} // holds a token while work may have to be handed out
	toRows  chan struct{} // holds a token while rows may differ from streams
	toRenew chan struct{} // holds a token while renewals wait

	mu       sync.Mutex
	draining bool
	byID     map[string]*runnerSession
	outputs  map[workKey]*headtail.Buffer // of attempts known to be a runner's here
	gone     map[string]uint64            // runners that said goodbye, with their generation
	renewals map[*runnerSession]*runnerpb.Renew
	empty    chan struct{} // closed when no runner is left; nil while nobody waits
}

// workKey names an attempt.
type workKey struct {
	job     string
	attempt uint32
}

func keyOf(f *deploymentpb.Fence) workKey { return workKey{f.GetJobId(), f.GetAttempt()} }

func (k workKey) fence() *deploymentpb.Fence {
	return &deploymentpb.Fence{JobId: k.job, Attempt: k.attempt}
}

// NewRunners returns an empty registry. Streams wait until Run is called.
func NewRunners(cfg RunnersConfig) *Runners {
	cfg = cfg.withDefaults()
	return &Runners{
		cfg:      cfg,
		life:     lifeline{logger: cfg.Logger, started: make(chan struct{})},
		toSync:   make(chan struct{}, 1),
		toRows:   make(chan struct{}, 1),
		toRenew:  make(chan struct{}, 1),
		byID:     map[string]*runnerSession{},
		outputs:  map[workKey]*headtail.Buffer{},
		gone:     map[string]uint64{},
		renewals: map[*runnerSession]*runnerpb.Renew{},
	}
}

// Run keeps the registry's rows in the replicated state and hands out work,
// until ctx ends. Then it ends every stream and waits for all it has started.
func (r *Runners) Run(ctx context.Context) error {
	finish := r.life.begin(ctx)
	err := task.Run(ctx, r.handOut, r.reconcile, r.renew)
	finish()
	return err
}

// Session serves one stream of a runner until it ends, is replaced by a newer
// one, or the node shuts down. It may return while Recv is still blocked: the
// stream must end when Session has returned.
func (r *Runners) Session(ctx context.Context, stream RunnerStream, caller RunnerCaller) error {
	ctx, end, err := r.life.enter(ctx)
	if err != nil {
		return err
	}
	defer end(nil)
	s := newRunnerSession(r, stream, caller, end)
	if !r.life.spawn(func() { s.receive(ctx) }) {
		return errShutdown()
	}
	err = s.serve(ctx)
	if errors.Is(err, errGoodbye) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Attached returns how many runners are attached now.
func (r *Runners) Attached() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.byID)
}

// Drain refuses new runners, asks those that are attached to move to the other
// servers, spread over them, and waits until they have gone or ctx ends. It
// returns how many are left.
func (r *Runners) Drain(ctx context.Context) int {
	servers := r.cfg.OtherServers()
	r.mu.Lock()
	r.draining = true
	i := 0
	for _, s := range r.byID {
		s.out.push(&runnerpb.Down{Kind: &runnerpb.Down_Move{Move: &runnerpb.Move{
			Reason: "node is leaving", ServerAddrs: rotated(servers, i),
		}}})
		i++
	}
	empty := r.empty
	if empty == nil {
		empty = make(chan struct{})
		r.empty = empty
	}
	none := len(r.byID) == 0
	r.mu.Unlock()
	if none {
		return 0
	}
	select {
	case <-empty:
	case <-ctx.Done():
	}
	return r.Attached()
}

// rotated returns the addresses beginning with the i-th.
func rotated(addrs []string, i int) []string {
	if len(addrs) == 0 {
		return nil
	}
	i %= len(addrs)
	return append(append([]string{}, addrs[i:]...), addrs[:i]...)
}

// JobOutput sends the output of an attempt whose runner is attached here, from
// offset on, until the attempt is over: the last message says so. What this
// node does not have any more is skipped. It fails with errs.NotFound if the
// attempt is not known here, or not yet.
func (r *Runners) JobOutput(ctx context.Context, fence *deploymentpb.Fence, offset uint64, send func(*nodepb.JobOutputResponse) error) error {
	ctx, end, err := r.life.enter(ctx)
	if err != nil {
		return err
	}
	defer end(nil)
	r.mu.Lock()
	buf := r.outputs[keyOf(fence)]
	r.mu.Unlock()
	if buf == nil {
		return errs.New(errs.NotFound, "attempt %d of job %s has no output on this node", fence.GetAttempt(), fence.GetJobId())
	}
	beat := time.NewTicker(r.cfg.Heartbeat)
	defer beat.Stop()
	for {
		data, at, closed, changed := buf.ReadFrom(offset, outputChunk)
		switch {
		case len(data) > 0:
			if err := send(&nodepb.JobOutputResponse{Data: data, Offset: at}); err != nil {
				return err
			}
			offset = at + uint64(len(data))
			continue
		case closed:
			return send(&nodepb.JobOutputResponse{Offset: offset, Ended: true})
		}
		select {
		case <-changed:
		case <-beat.C:
			if err := send(&nodepb.JobOutputResponse{Offset: offset, Heartbeat: true}); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// signal puts a token into a channel of capacity 1.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// waitChange returns when what ws looked at may have changed or wake receives;
// with ctx's error when that ends.
func waitChange(ctx context.Context, ws *state.WatchSet, wake <-chan struct{}) error {
	inner, cancel := context.WithCancel(ctx)
	var waker sync.WaitGroup
	waker.Go(func() {
		select {
		case <-wake:
			cancel()
		case <-inner.Done():
		}
	})
	_ = ws.Wait(inner)
	cancel()
	waker.Wait()
	return ctx.Err()
}
