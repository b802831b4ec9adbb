package load

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"waypoint/test/faults/check"
	"waypoint/test/harness"
)

const (
	appProject = "apps"
	// standstill is how long an application may pause between two lines. It
	// writes twenty a second, but the machine that it runs on may be busy.
	standstill = 10 * time.Second
	attachTime = time.Minute
	endTime    = 20 * time.Second
)

// appScript is the application: it writes numbered lines until it is asked to
// end. Reading from a pipe that nobody writes to is a pause without a process.
const appScript = `
trap 'echo "end $0 $n"; exit 0' TERM
exec 3<> <(:)
n=0
echo "start $0"
while :; do
	echo "line $0 $((n+1)) that an application writes"
	n=$((n+1))
	read -t 0.05 -u 3
done
`

// Apps runs applications under entrypoints, beside which other workloads use the
// cluster, and watches that they live.
type Apps struct {
	Count int

	cluster *harness.Cluster
	history *recorder[check.AppEvent]
	await   []func(context.Context) // called before the applications are asked to end

	started, stopped sync.Once
	startErr         error
	apps             []*app
}

// app is one application.
type app struct {
	name     string
	history  *recorder[check.AppEvent]
	instance *harness.Instance
	watch    sync.WaitGroup

	mu    sync.Mutex
	rest  []byte // of a line that is not whole yet
	lines uint64
}

var _ Workload = (*Apps)(nil)

// NewApps returns the workload. Others that use the applications take it; all of
// them may be prepared and checked in any order.
func NewApps(c *harness.Cluster) *Apps {
	return &Apps{Count: 3, cluster: c, history: newRecorder[check.AppEvent]()}
}

// Name is "instances".
func (a *Apps) Name() string { return "instances" }

// Prepare starts the applications and waits until their entrypoints are attached.
func (a *Apps) Prepare(ctx context.Context) error {
	a.started.Do(func() { a.startErr = a.start(ctx) })
	return a.startErr
}

func (a *Apps) start(ctx context.Context) error {
	d, err := harness.Deploy(ctx, a.cluster, appProject)
	if err != nil {
		return err
	}
	for n := range a.Count {
		one := &app{name: fmt.Sprintf("app%d", n), history: a.history}
		if one.instance, err = d.StartInstance(one, nil, "bash", "-c", appScript, one.name); err != nil {
			return err
		}
		one.watch.Go(func() {
			<-one.instance.Ended()
			one.note(check.Exited, uint64(one.instance.Code()), "")
		})
		a.apps = append(a.apps, one)
	}
	return harness.Attached(ctx, a.cluster, a.Count, attachTime)
}

// Write takes what the entrypoint writes: its application's output.
func (a *app) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rest = append(a.rest, p...)
	for {
		line, rest, whole := bytes.Cut(a.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		a.rest = rest
		if bytes.Contains(line, []byte("waypoint-entrypoint: ")) {
			continue // its own log
		}
		_, kind, n := parseLine(string(line))
		if kind == check.Wrote {
			a.lines++
		}
		strange := ""
		if kind == check.Strange {
			strange = string(line)
		}
		a.note(kind, n, strange)
	}
}

func (a *app) note(kind string, n uint64, text string) {
	a.history.add(check.AppEvent{At: a.history.now(), App: a.name, Kind: kind, N: n, Text: text})
}

// wrote is how many numbered lines the application has written.
func (a *app) wrote() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lines
}

// parseLine understands a line of the script.
func parseLine(line string) (app, kind string, n uint64) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return "", check.Strange, 0
	}
	app = fields[1]
	if len(fields) > 2 {
		n, _ = strconv.ParseUint(fields[2], 10, 64) // what is no number does not compare below
	}
	switch line {
	case "start " + app:
		return app, check.Started, 0
	case fmt.Sprintf("end %s %d", app, n):
		return app, check.Ended, n
	case fmt.Sprintf("line %s %d that an application writes", app, n):
		return app, check.Wrote, n
	}
	return "", check.Strange, 0
}

// Run waits: the applications work by themselves.
func (a *Apps) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// stop asks every application to end and waits for that.
func (a *Apps) stop(ctx context.Context) {
	a.stopped.Do(func() {
		for _, ready := range a.await {
			ready(ctx)
		}
		for _, one := range a.apps {
			one.note(check.Stop, 0, "")
			one.instance.Signal(syscall.SIGTERM)
		}
		for _, one := range a.apps {
			one.instance.Stop(endTime)
			one.watch.Wait()
		}
	})
}

// Check ends the applications and judges their lives.
func (a *Apps) Check(ctx context.Context) *check.Verdict {
	a.stop(ctx)
	return check.Instances(a.history.all(), standstill)
}
