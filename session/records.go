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
	now     func() time.Time // the cluster's time
	logger  hclog.Logger

	mu      sync.Mutex
	queue   []*record
	dropped int
	ready   chan struct{} // holds a token while queue may have something
}

func newExecRecords(cfg InstancesConfig) *execRecords {
	return &execRecords{nodeID: cfg.NodeID, applier: cfg.Applier, now: cfg.Now, logger: cfg.Logger, ready: make(chan struct{}, 1)}
}

// record is one that waits to be told. Its command keeps its request id over
// all tries, since one that was given up may still be on its way and must not
// count after a later record. It is never changed.
type record struct {
	of   *recorded
	cmd  *commandpb.Command
	born time.Time // of the request id
}

// add queues a record of a session and does not wait.
func (r *execRecords) add(of *recorded, cmd *commandpb.Command) {
	cmd.RequestId, cmd.TokenId = ids.At(r.now()), nodePrefix+r.nodeID
	record := &record{of: of, cmd: cmd, born: time.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) >= maxRecords {
		r.dropped++
		return
	}
	r.queue = append(r.queue, record)
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// run tells what waits until ctx ends.
func (r *execRecords) run(ctx context.Context) error {
	pause, failures := backoff.New(rowRetryMin, rowRetryMax), 0
	for {
		record := r.first()
		if record == nil {
			select {
			case <-r.ready:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := r.tell(ctx, record)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && retryable(err):
			if failures++; failures%rowsSlowWarn == 1 {
				r.logger.Warn("cannot record exec sessions yet", "waiting", r.waiting(), "error", err)
			}
			_ = pause.Wait(ctx)
			continue
		}
		r.refused(record, err)
		failures = 0
		pause.Reset()
		r.told()
	}
}

// flush tells what still waits at the end of a node, once and not for long.
func (r *execRecords) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastRecords)
	defer cancel()
	for record := r.first(); record != nil; record = r.first() {
		err := r.tell(ctx, record)
		if err != nil && retryable(err) {
			r.logger.Warn("exec sessions are not recorded", "records", r.waiting(), "error", err)
			return
		}
		r.refused(record, err)
		r.told()
	}
}

// tell applies a record once. The end of a session whose beginning was refused
// is not told: there is no record of it, or that of another one.
func (r *execRecords) tell(ctx context.Context, record *record) error {
	if record.of.refused && record.cmd.GetExecEnd() != nil {
		return nil
	}
	if time.Since(record.born) > requestAge {
		record.cmd = &commandpb.Command{RequestId: ids.At(r.now()), TokenId: record.cmd.GetTokenId(), Kind: record.cmd.GetKind()}
		record.born = time.Now()
	}
	ctx, cancel := context.WithTimeout(ctx, rowTimeout)
	defer cancel()
	_, err := r.applier.Apply(ctx, record.cmd)
	return err
}

// refused tells of a record that the state does not take; err may be nil.
func (r *execRecords) refused(record *record, err error) {
	start := record.cmd.GetExecStart()
	switch s := start.GetSession(); {
	case err == nil:
	case start == nil:
		r.logger.Debug("the end of an exec session is not recorded", "session", record.cmd.GetExecEnd().GetId(), "error", err)
	default:
		record.of.refused = true
		r.logger.Warn("an exec session is not recorded", "session", s.GetId(), "instance", s.GetInstanceId(),
			"subject", s.GetSubject(), "token", s.GetTokenId(), "argv", s.GetArgv(), "error", err)
	}
}

func (r *execRecords) first() *record {
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
	resumed bool // it has begun before
	refused bool // its beginning was; known to who tells records only

	mu    sync.Mutex
	begun bool
	ended bool
}

var _ ExecSide = (*recorded)(nil)

// newRecorded makes the record of a session in an instance. What cannot be
// known to be true is not taken from open: who asks was filled in by a node.
func newRecorded(side ExecSide, records *execRecords, open *execpb.Open, row *deploymentpb.Instance) *recorded {
	argv, cut := shortened(open.GetArgv())
	return &recorded{ExecSide: side, records: records, resumed: open.GetResume() != nil, session: &execpb.Session{
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
	r.session.StartedAt = timestamppb.New(r.records.now())
	r.records.add(r, &commandpb.Command{Kind: &commandpb.Command_ExecStart{
		ExecStart: &commandpb.ExecStart{Session: r.session, Resumed: r.resumed},
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
	r.records.add(r, &commandpb.Command{Kind: &commandpb.Command_ExecEnd{ExecEnd: &commandpb.ExecEnd{
		Id: r.session.GetId(), EndedAt: timestamppb.New(r.records.now()), Exit: exit, Error: failure,
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
