package session

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/internal/ids"
)

const (
	maxRecords  = 2048    // that wait to be told
	recordArgv  = 4 << 10 // bytes of a command line
	lastRecords = time.Second
)

// execRecords brings the records of exec sessions into the replicated state,
// one after the other and behind the sessions' back: they wait here until there
// is a quorum. There is a bound to how many wait, beyond which the newest is
// dropped.
type execRecords struct {
	nodeID  string
	applier RowApplier
	logger  hclog.Logger

	mu      sync.Mutex
	queue   []*commandpb.Command
	dropped int
	ready   chan struct{} // holds a token while queue may have something
}

func newExecRecords(cfg InstancesConfig) *execRecords {
	return &execRecords{nodeID: cfg.NodeID, applier: cfg.Applier, logger: cfg.Logger, ready: make(chan struct{}, 1)}
}

// add queues a record and does not wait.
func (r *execRecords) add(cmd *commandpb.Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) >= maxRecords {
		r.dropped++
		return
	}
	r.queue = append(r.queue, cmd)
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// run tells what waits until ctx ends.
func (r *execRecords) run(ctx context.Context) error {
	pause, failures := backoff.New(rowRetryMin, rowRetryMax), 0
	for {
		cmd := r.first()
		if cmd == nil {
			select {
			case <-r.ready:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := r.tell(ctx, cmd)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && retryable(err):
			if failures++; failures%rowsSlowWarn == 1 {
				r.logger.Warn("cannot record exec sessions yet", "waiting", r.waiting(), "error", err)
			}
			_ = pause.Wait(ctx)
			continue
		case err != nil:
			r.logger.Debug("record of an exec session refused", "error", err)
		}
		failures = 0
		pause.Reset()
		r.told()
	}
}

// flush tells what still waits at the end of a node, once and not for long.
func (r *execRecords) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastRecords)
	defer cancel()
	for cmd := r.first(); cmd != nil; cmd = r.first() {
		if err := r.tell(ctx, cmd); err != nil && retryable(err) {
			r.logger.Warn("exec sessions are not recorded", "records", r.waiting(), "error", err)
			return
		}
		r.told()
	}
}

// tell applies a record under a request id of its own: a try that was given up
// may still be on its way.
func (r *execRecords) tell(ctx context.Context, record *commandpb.Command) error {
	ctx, cancel := context.WithTimeout(ctx, rowTimeout)
	defer cancel()
	cmd := &commandpb.Command{RequestId: ids.New(), TokenId: nodePrefix + r.nodeID, Kind: record.GetKind()}
	_, err := r.applier.Apply(ctx, cmd)
	return err
}

func (r *execRecords) first() *commandpb.Command {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return nil
	}
	return r.queue[0]
}

func (r *execRecords) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue)
}

// told takes the first record off the queue.
func (r *execRecords) told() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dropped > 0 {
		r.logger.Warn("records of exec sessions were dropped: too many waited for a quorum", "dropped", r.dropped)
		r.dropped = 0
	}
	popFirst(&r.queue)
}

// recorded is the asking side of a session whose begin and end are recorded on
// their way to it.
type recorded struct {
	ExecSide
	records *execRecords
	session *execpb.Session

	mu    sync.Mutex
	begun bool
	ended bool
}

var _ ExecSide = (*recorded)(nil)

// newRecorded makes the record of a session in an instance. What cannot be
// known to be true is not taken from open: who asks was filled in by a node.
func newRecorded(side ExecSide, records *execRecords, open *execpb.Open, row *deploymentpb.Instance) *recorded {
	argv, cut := shortened(open.GetArgv())
	return &recorded{ExecSide: side, records: records, session: &execpb.Session{
		Id: open.GetSessionId(), App: row.GetApp(), DeploymentId: row.GetDeploymentId(), InstanceId: row.GetId(),
		TokenId: open.GetTokenId(), Subject: open.GetSubject(), Argv: argv, ArgvCut: cut, Tty: open.GetTty(),
		NodeId: row.GetNodeId(), NodeBoot: row.GetNodeBoot(),
	}}
}

// Send passes a message on and records what it means.
func (r *recorded) Send(out *execpb.Output) error {
	switch kind := out.GetKind().(type) {
	case *execpb.Output_Opened:
		r.begin()
	case *execpb.Output_Exit:
		r.end(kind.Exit, "")
	case *execpb.Output_Refused:
		r.end(nil, kind.Refused.GetMessage())
	}
	return r.ExecSide.Send(out)
}

func (r *recorded) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun {
		return
	}
	r.begun = true
	r.session.StartedAt = timestamppb.Now()
	r.records.add(&commandpb.Command{Kind: &commandpb.Command_ExecStart{
		ExecStart: &commandpb.ExecStart{Session: r.session},
	}})
}

// end records the end of a session that has begun, once.
func (r *recorded) end(exit *execpb.Exit, failure string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begun || r.ended {
		return
	}
	r.ended = true
	r.records.add(&commandpb.Command{Kind: &commandpb.Command_ExecEnd{ExecEnd: &commandpb.ExecEnd{
		Id: r.session.GetId(), EndedAt: timestamppb.Now(), Exit: exit, Error: failure,
	}}})
}

// leave records that this node does not know how the session ends.
func (r *recorded) leave(err error) {
	if err != nil {
		r.end(nil, "its end is not known: "+errs.ToProto(err).GetMessage())
	}
}

// shortened is the part of a command line that is recorded.
func shortened(argv []string) (short []string, cut bool) {
	left := recordArgv
	for _, arg := range argv {
		if len(arg)+1 > left { // one for what stands between arguments
			return append(short, strings.ToValidUTF8(arg[:min(len(arg), left)], "")), true
		}
		left -= len(arg) + 1
		short = append(short, arg)
	}
	return short, false
}
