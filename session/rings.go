package session

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"waypoint/api/entrypointpb"
	"waypoint/api/logspb"
	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/logs"
)

const (
	minRingBytes  = 8 << 10
	logBatchLines = 2000
	logBatchBytes = 256 << 10
)

// logBytes is what all rings together hold.
type logBytes struct{ atomic.Int64 }

// takeLogs puts what an instance sends into its ring, where readers find it.
func (in *Instances) takeLogs(ring *logs.Ring, batch *entrypointpb.LogBatch) {
	before := ring.Size()
	if lines := batch.GetLines(); len(lines) == 0 || lines[0].GetSeq() > ring.Last() {
		ring.Lost(batch.GetDroppedBytes())
	}
	for _, l := range batch.GetLines() {
		ring.Append(l)
	}
	if in.logBytes.Add(int64(ring.Size()-before)) > in.cfg.LogBudget {
		in.reclaim()
	}
}

// share is what each ring may hold so that all stay well under the budget. The
// caller holds mu.
func (in *Instances) share() int {
	if len(in.byID) == 0 {
		return in.cfg.RingBytes
	}
	share := int(in.cfg.LogBudget / 4 * 3 / int64(len(in.byID)))
	return max(minRingBytes, min(in.cfg.RingBytes, share))
}

// reclaim brings the rings under the node's budget: first those of instances
// that left go, the longest gone first, then every ring gets an equal share.
func (in *Instances) reclaim() {
	in.mu.Lock()
	defer in.mu.Unlock()
	target := in.cfg.LogBudget / 8 * 7
	for _, inst := range in.gone() {
		if in.recount() <= target {
			return
		}
		in.drop(inst)
	}
	if in.recount() > target {
		in.setLimits()
	}
}

// setLimits gives every ring its share. The caller holds mu.
func (in *Instances) setLimits() {
	share := in.share()
	for _, inst := range in.byID {
		inst.ring.SetLimit(share)
	}
	in.recount()
}

// recount corrects the sum, which streams that write at the same time may have
// put out. The caller holds mu.
func (in *Instances) recount() int64 {
	var sum int64
	for _, inst := range in.byID {
		sum += int64(inst.ring.Size())
	}
	in.logBytes.Store(sum)
	return sum
}

// gone lists the instances that left, the longest gone first. The caller holds
// mu.
func (in *Instances) gone() []*instance {
	var list []*instance
	for _, inst := range in.byID {
		if inst.live == nil {
			list = append(list, inst)
		}
	}
	slices.SortFunc(list, func(a, b *instance) int { return a.left.Compare(b.left) })
	return list
}

// drop forgets an instance that left. Its readers come to an end. The caller
// holds mu.
func (in *Instances) drop(inst *instance) {
	inst.ring.Close()
	delete(in.byID, inst.id)
}

// forget drops the instances that left before the time, and lets the rings grow
// again if there is room.
func (in *Instances) forget(before time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, inst := range in.gone() {
		if inst.left.Before(before) {
			in.drop(inst)
		}
	}
	if in.recount() < in.cfg.LogBudget/2 {
		in.setLimits()
	}
}

// Logs sends the lines of one instance whose home this node is or was. With
// follow it goes on until the context ends, or the instance has ended, which the
// last batch says; or this node has forgotten it. It fails with KIND_NOT_FOUND if
// this node holds nothing of the instance.
func (in *Instances) Logs(ctx context.Context, req *nodepb.LogsRequest, send func(*nodepb.LogsResponse) error) error {
	ctx, end, err := in.enter(ctx)
	if err != nil {
		return err
	}
	defer end(nil)
	in.mu.Lock()
	inst := in.byID[req.GetInstanceId()]
	in.mu.Unlock()
	if inst == nil {
		return errs.New(errs.NotFound, "logs: this node holds no lines of instance %s", req.GetInstanceId())
	}
	var reader *logs.Reader
	if req.GetHasAfter() {
		reader = inst.ring.Reader(req.GetAfter())
	} else {
		reader = inst.ring.Tail(int(req.GetTail()))
	}
	for {
		batch, err := in.nextBatch(ctx, inst, reader, req.GetFollow())
		if err != nil {
			return err
		}
		if batch == nil {
			return nil
		}
		if err := send(batch); err != nil {
			return err
		}
		if batch.GetBatch().GetEnded() {
			return nil
		}
	}
}

// nextBatch returns what to send next, nil for the end.
func (in *Instances) nextBatch(ctx context.Context, inst *instance, reader *logs.Reader, follow bool) (*nodepb.LogsResponse, error) {
	lines, gap, err := reader.TryNext(logBatchLines, logBatchBytes)
	if err == nil && lines == nil && gap == nil {
		if !follow {
			return nil, nil
		}
		bounded, cancel := context.WithTimeout(ctx, in.cfg.Heartbeat)
		defer cancel()
		lines, gap, err = reader.Next(bounded, logBatchLines, logBatchBytes)
	}
	switch {
	case errors.Is(err, io.EOF):
		in.mu.Lock()
		exited := inst.exited
		in.mu.Unlock()
		if !exited {
			return nil, nil
		}
		return &nodepb.LogsResponse{Batch: &logspb.Batch{InstanceId: inst.id, Ended: true}}, nil
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return &nodepb.LogsResponse{Heartbeat: true}, nil
	}
	return &nodepb.LogsResponse{Batch: &logspb.Batch{InstanceId: inst.id, Lines: lines, Gap: gap}}, nil
}
