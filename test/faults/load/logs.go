package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"waypoint/api/logspb"
	"waypoint/test/faults/check"
	"waypoint/test/harness"
)

// lastLines bounds the wait for the last lines of applications that have ended.
const lastLines = time.Minute

// Logs follows the lines of the applications with one "waypoint logs" from begin
// to end.
type Logs struct {
	apps    *Apps
	history *recorder[check.LogLine]
	reader  *harness.LogReader
	cancel  context.CancelFunc

	mu     sync.Mutex
	newest map[string]uint64 // number of the newest line, by application
	ended  map[string]bool   // by application
	broken []error
}

var _ Workload = (*Logs)(nil)

// NewLogs returns the workload. Its Check ends the applications.
func NewLogs(apps *Apps) *Logs {
	return &Logs{apps: apps, history: newRecorder[check.LogLine](), newest: map[string]uint64{}, ended: map[string]bool{}}
}

// Name is "logs".
func (l *Logs) Name() string { return "logs" }

// Prepare starts the applications and the reader.
func (l *Logs) Prepare(ctx context.Context) error {
	if err := l.apps.Prepare(ctx); err != nil {
		return err
	}
	l.apps.await = append(l.apps.await, l.flow)
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	l.reader, err = l.apps.cluster.ReadLogs(ctx, l.take, l.broke)
	return err
}

func (l *Logs) broke(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = append(l.broken, err)
}

// flow waits until something has been read that each application wrote after
// now. An entrypoint whose node was out of reach goes on when the network tries
// again, seconds later, and does not wait so long with the last lines of an
// application that ends.
func (l *Logs) flow(ctx context.Context) {
	since := map[string]uint64{}
	for _, one := range l.apps.apps {
		since[one.name] = one.wrote()
	}
	if err := harness.Until(ctx, lastLines, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for name, n := range since {
			if l.newest[name] <= n {
				return fmt.Errorf("application %s has written %d lines, the newest that was read is %d", name, n, l.newest[name])
			}
		}
		return nil
	}); err != nil {
		l.broke(err)
	}
}

// take keeps a batch: first its gap, then its lines.
func (l *Logs) take(b *logspb.Batch) {
	now := l.history.now()
	if g := b.GetGap(); g != nil {
		l.history.add(check.LogLine{At: now, Instance: b.GetInstanceId(), Gap: true, Lost: g.GetLines()})
	}
	for _, line := range b.GetLines() {
		read := check.LogLine{At: now, Instance: b.GetInstanceId(), Seq: line.GetSeq()}
		if line.GetSource() != logspb.Source_SOURCE_ENTRYPOINT {
			l.parse(&read, string(line.GetData()))
		}
		l.history.add(read)
	}
}

func (l *Logs) parse(read *check.LogLine, data string) {
	app, kind, n := parseLine(data)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch kind {
	case check.Wrote:
		read.App, read.N = app, n
		l.newest[app] = max(l.newest[app], n)
	case check.Ended:
		l.ended[app] = true
	case check.Strange:
		read.Strange = data
	}
}

// Run waits: the reader works by itself.
func (l *Logs) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Check ends the applications, waits for their last lines and judges.
func (l *Logs) Check(ctx context.Context) *check.Verdict {
	defer l.cancel()
	l.apps.stop(ctx)
	late := harness.Until(ctx, lastLines, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.ended) < len(l.apps.apps) {
			return fmt.Errorf("%d of %d applications' last lines have not come", len(l.apps.apps)-len(l.ended), len(l.apps.apps))
		}
		return nil
	})
	byItself := false
	select {
	case <-l.reader.Ended():
		byItself = true
	default:
		l.reader.Stop()
	}
	wrote := map[string]uint64{}
	for _, one := range l.apps.apps {
		wrote[one.name] = one.wrote()
	}
	v := check.Logs(l.history.all(), wrote)
	if byItself {
		v.Violated("\"waypoint logs -f\" ended by itself")
	}
	if late != nil {
		v.Violated("%v", late)
	}
	for _, err := range l.broken {
		v.Violated("%v", err)
	}
	return v
}
