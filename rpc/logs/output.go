package logs

import (
	"context"
	"time"

	"waypoint/api/logspb"
	"waypoint/logs"
)

const (
	// mergeBytes bounds the lines that wait to be merged, for one caller.
	mergeBytes = 8 << 20
	// messageBytes bounds the lines of one message.
	messageBytes = 512 << 10
	// historyHold is how long a read without follow waits for a node that is
	// slower than the others.
	historyHold = 2 * time.Second
)

// event is what sources and the follower tell the output.
type event struct {
	open   string // lines of this instance will come
	done   string // no more lines of this instance will come now
	batch  *logspb.Batch
	notice string
	end    bool // nothing will come any more
}

// emit hands an event to the output, which takes it when the caller has taken
// what came before.
func emit(ctx context.Context, events chan<- event, e event) error {
	select {
	case events <- e:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// output merges what the sources read and sends it to the caller.
type output struct {
	heartbeat time.Duration
	stream    logspb.Logs_StreamServer
	events    <-chan event
	merger    *logs.Merger
	notices   []string
	end       bool
}

func newOutput(cfg Config, follow bool, stream logspb.Logs_StreamServer, events <-chan event) *output {
	hold := cfg.Hold
	if !follow {
		hold = max(hold, historyHold)
	}
	return &output{
		heartbeat: cfg.Heartbeat, stream: stream, events: events,
		merger: logs.NewMerger(hold, mergeBytes),
	}
}

func (o *output) notice(text string) { o.notices = append(o.notices, text) }

// run sends until nothing can come any more.
func (o *output) run(ctx context.Context) error {
	held := time.NewTimer(0)
	defer held.Stop()
	quiet := time.NewTimer(o.heartbeat)
	defer quiet.Stop()
	for {
		beat := false
		select {
		case e := <-o.events:
			o.take(e)
			o.takeMore()
		case <-held.C:
		case <-quiet.C:
			beat = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		sent, err := o.send(beat)
		if err != nil || o.end {
			return err
		}
		if sent {
			quiet.Reset(o.heartbeat)
		}
		if at, ok := o.merger.Next(); ok {
			held.Reset(time.Until(at))
		}
	}
}

func (o *output) take(e event) {
	switch {
	case e.open != "":
		o.merger.Open(e.open)
	case e.done != "":
		o.merger.Done(e.done)
	case e.batch != nil:
		o.merger.Add(e.batch, time.Now())
	case e.notice != "":
		o.notice(e.notice)
	case e.end:
		o.end = true
		o.merger.Finish()
	}
}

// takeMore takes what is there without waiting, so that one message carries it.
func (o *output) takeMore() {
	for range cap(o.events) {
		select {
		case e := <-o.events:
			o.take(e)
		default:
			return
		}
	}
}

// send sends what may go out now, if only a sign of life when that is asked for.
func (o *output) send(beat bool) (sent bool, err error) {
	for {
		response := &logspb.StreamResponse{Batches: o.merger.Take(time.Now(), messageBytes)}
		switch {
		case len(o.notices) > 0:
			response.Notice, o.notices = o.notices[0], o.notices[1:]
		case len(response.GetBatches()) > 0:
		case beat && !sent:
			response.Heartbeat = true
		default:
			return sent, nil
		}
		if err := o.stream.Send(response); err != nil {
			return sent, err
		}
		if sent = true; response.GetHeartbeat() {
			return sent, nil
		}
	}
}
