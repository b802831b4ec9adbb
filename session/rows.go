package session

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/entrypointpb"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/internal/ids"
	"waypoint/internal/task"
)

const (
	rowWriters   = 64              // rows that are on their way at a time
	rowTimeout   = 5 * time.Second // for one try
	rowRetryMin  = 100 * time.Millisecond
	rowRetryMax  = 5 * time.Second
	nodePrefix   = "node:"
	ulidLen      = 26
	maxHash      = 64 // bytes
	rowsSlowWarn = 10 // failures in a row of one writer between warnings
)

// rows brings the rows of this node's instances into the replicated state,
// behind the streams' back: of what is to be said about an instance only the
// newest waits, and it is tried until it is said or refused.
type rows struct {
	nodeID, bootID string
	applier        RowApplier
	now            func() time.Time // the cluster's time
	logger         hclog.Logger
	refused        func(row *deploymentpb.Instance, err error)

	mu    sync.Mutex
	byID  map[string]*rowEntry
	queue []*rowEntry
	ready chan struct{} // holds a token while queue may have something
}

// rowEntry is what is to be said about one instance.
type rowEntry struct {
	want     *deploymentpb.Instance // never changed, only replaced
	said     *deploymentpb.Instance // the want that has been applied
	attached uint64                 // newest generation whose attach has been applied
	queued   bool                   // in queue, or in a writer's hands
}

func newRows(cfg InstancesConfig) *rows {
	return &rows{
		nodeID: cfg.NodeID, bootID: cfg.BootID, applier: cfg.Applier, now: cfg.Now, logger: cfg.Logger,
		byID:  map[string]*rowEntry{},
		ready: make(chan struct{}, 1),
	}
}

// set replaces what is to be said about the row's instance. Nobody may change
// row from then on.
func (r *rows) set(row *deploymentpb.Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[row.GetId()]
	if e == nil {
		e = &rowEntry{}
		r.byID[row.GetId()] = e
	}
	e.want = row
	r.enqueue(e)
}

// again says everything about the instance once more, unless that is under way.
// It is for a row that the state has lost.
func (r *rows) again(row *deploymentpb.Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[row.GetId()]
	if e == nil {
		e = &rowEntry{want: row}
		r.byID[row.GetId()] = e
	}
	if !e.queued {
		e.attached, e.said = 0, nil
		r.enqueue(e)
	}
}

// settled tells whether the row has been said and nothing else is to be.
func (r *rows) settled(row *deploymentpb.Instance) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[row.GetId()]
	return e == nil || e.said == row && e.want == row
}

func (r *rows) enqueue(e *rowEntry) {
	if e.queued {
		return
	}
	e.queued = true
	r.queue = append(r.queue, e)
	r.signal()
}

func (r *rows) signal() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// run writes until ctx ends.
func (r *rows) run(ctx context.Context) error {
	writers := make([]func(context.Context) error, rowWriters)
	for i := range writers {
		writers[i] = r.write
	}
	return task.Run(ctx, writers...)
}

// write is one writer. After a failure it pauses and puts the row at the end of
// the queue; a later one may have been said meanwhile.
func (r *rows) write(ctx context.Context) error {
	pause, failures := backoff.New(rowRetryMin, rowRetryMax), 0
	for {
		e, want, err := r.next(ctx)
		if err != nil {
			return err
		}
		err = r.say(ctx, e, want)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && retryable(err):
			if failures++; failures%rowsSlowWarn == 1 {
				r.logger.Warn("cannot record an instance yet", "instance", want.GetId(), "error", err)
			}
			_ = pause.Wait(ctx)
			r.done(e, nil)
			continue
		case err != nil:
			r.logger.Debug("instance row refused", "instance", want.GetId(), "error", err)
			r.refused(want, err)
		}
		failures = 0
		pause.Reset()
		r.done(e, want)
	}
}

// next waits for a row to write.
func (r *rows) next(ctx context.Context) (*rowEntry, *deploymentpb.Instance, error) {
	for {
		select {
		case <-r.ready:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		r.mu.Lock()
		if len(r.queue) == 0 {
			r.mu.Unlock()
			continue
		}
		e := r.queue[0]
		if r.queue = r.queue[1:]; len(r.queue) > 0 {
			r.signal()
		} else {
			r.queue = nil
		}
		want := e.want
		r.mu.Unlock()
		return e, want, nil
	}
}

// done gives a row back: said as a whole, or not (nil). Rows that are about an
// instance that left are then forgotten.
func (r *rows) done(e *rowEntry, said *deploymentpb.Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.queued = false
	if said != nil {
		e.said = said
	}
	switch {
	case e.want != e.said:
		r.enqueue(e)
	case e.want.GetState() != deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED:
		delete(r.byID, e.want.GetId())
	}
}

// say applies what is new about an instance: an attach if its generation has
// not been recorded yet, else an update.
func (r *rows) say(ctx context.Context, e *rowEntry, want *deploymentpb.Instance) error {
	if e.attached < want.GetGeneration() {
		hello := want
		if want.GetState() != deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED {
			hello = proto.CloneOf(want)
			hello.State, hello.ExitCode, hello.AskedToEnd = deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED, 0, false
		}
		if err := r.apply(ctx, &commandpb.Command{Kind: &commandpb.Command_InstanceAttach{
			InstanceAttach: &commandpb.InstanceAttach{Instance: hello},
		}}); err != nil {
			return err
		}
		e.attached = want.GetGeneration()
		if hello == want {
			return nil
		}
	}
	return r.apply(ctx, &commandpb.Command{Kind: &commandpb.Command_InstanceUpdate{
		InstanceUpdate: &commandpb.InstanceUpdate{
			Id: want.GetId(), NodeId: r.nodeID, NodeBoot: r.bootID, Generation: want.GetGeneration(),
			State: want.GetState(), ChildPid: want.GetChildPid(), ChildStarts: want.GetChildStarts(), ExitCode: want.GetExitCode(),
			ChildConfig: want.GetChildConfig(), RestartWanted: want.GetRestartWanted(), AskedToEnd: want.GetAskedToEnd(),
		},
	}})
}

func (r *rows) apply(ctx context.Context, cmd *commandpb.Command) error {
	ctx, cancel := context.WithTimeout(ctx, rowTimeout)
	defer cancel()
	cmd.RequestId, cmd.TokenId = ids.At(r.now()), nodePrefix+r.nodeID
	_, err := r.applier.Apply(ctx, cmd)
	return err
}

// retryable tells whether a row that was not applied may be later. A row that
// may have been applied is applied again: it says the same.
func retryable(err error) bool {
	switch errs.KindOf(err) {
	case errs.Invalid, errs.NotFound, errs.AlreadyExists, errs.Conflict, errs.Unauthenticated,
		errs.PermissionDenied, errs.StaleAttempt, errs.Unimplemented, errs.Protocol:
		return false
	}
	return true
}

// newRow returns what the state should say about an instance that says hello.
func (in *Instances) newRow(hello *entrypointpb.Hello, d *deploymentpb.Deployment) *deploymentpb.Instance {
	row := &deploymentpb.Instance{
		Id:                 hello.GetInstanceId(),
		DeploymentId:       d.GetId(),
		App:                d.GetApp(),
		DeploymentSequence: d.GetSequence(),
		NodeId:             in.cfg.NodeID,
		NodeBoot:           in.cfg.BootID,
		Generation:         hello.GetGeneration(),
		Host:               hello.GetHost(),
		Build:              hello.GetBuild(),
	}
	setChild(row, hello.GetChild())
	return row
}

// setChild records the child. An instance whose child has ended is attached
// until it says goodbye: the entrypoint may start the child again.
func setChild(row *deploymentpb.Instance, child *entrypointpb.ChildState) {
	row.State = deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED
	row.ChildPid, row.ChildStarts, row.ExitCode = child.GetPid(), child.GetStarts(), child.GetExitCode()
	row.ChildConfig, row.RestartWanted = shortHash(child.GetConfigHash()), shortHash(child.GetRestartWanted())
}

// shortHash keeps what an instance calls a hash from filling the state.
func shortHash(hash []byte) []byte { return hash[:min(len(hash), maxHash)] }

// changeRow says something new about a, if it still is its instance's stream.
// The caller holds mu.
func (in *Instances) changeRow(a *attach, change func(*deploymentpb.Instance)) {
	if a.inst.generation != a.row.GetGeneration() {
		return
	}
	row := proto.CloneOf(a.row)
	change(row)
	a.row = row
	in.rows.set(row)
}

// rowRefused ends the stream that a refused row is about: it is attached
// elsewhere by now, or its deployment is gone.
func (in *Instances) rowRefused(row *deploymentpb.Instance, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	inst := in.byID[row.GetId()]
	if inst != nil && inst.live != nil && inst.generation == row.GetGeneration() {
		inst.live.end(errs.New(errs.KindOf(err), "attach: the cluster refuses this instance: %w", err))
	}
}
