package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waypoint/test/faults/check"
	"waypoint/test/harness"
)

const (
	// echoLimit is how long neither an answer nor the end of a session may
	// come: a client notices within 16 s that a node is gone without a word,
	// tries for 10 s to resume, and a busy machine needs longer.
	echoLimit = time.Minute
	// sessionLines is how many lines a session carries before another one begins.
	sessionLines = 100
	maxEcho      = 8 << 10 // bytes of a line
)

// Exec sends lines through sessions in the applications' instances and waits for
// each to come back.
type Exec struct {
	Clients int     // each begins with another node
	Rate    float64 // lines of each client in a second, at most
	Seed    uint64

	apps     *Apps
	history  *recorder[check.Echo]
	addrs    []string
	sessions atomic.Int64
}

var _ Workload = (*Exec)(nil)

// NewExec returns the workload.
func NewExec(apps *Apps) *Exec {
	return &Exec{Clients: 3, Rate: 10, Seed: 1, apps: apps, history: newRecorder[check.Echo]()}
}

// Name is "exec".
func (e *Exec) Name() string { return "exec" }

// Prepare starts the applications.
func (e *Exec) Prepare(ctx context.Context) error {
	for _, n := range e.apps.cluster.Nodes {
		e.addrs = append(e.addrs, n.Addr)
	}
	return e.apps.Prepare(ctx)
}

// Run lets all clients work until ctx ends.
func (e *Exec) Run(ctx context.Context) error {
	var clients sync.WaitGroup
	failed := make([]error, e.Clients)
	for n := range e.Clients {
		clients.Go(func() { failed[n] = e.client(ctx, n) })
	}
	clients.Wait()
	return errors.Join(failed...)
}

// client holds one session after the other.
func (e *Exec) client(ctx context.Context, n int) error {
	random := rand.New(rand.NewPCG(e.Seed, uint64(n)))
	addrs := strings.Join(append(append([]string{}, e.addrs[n%len(e.addrs):]...), e.addrs[:n%len(e.addrs)]...), ",")
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var shell *harness.Shell
	var failed error
	var session, line int
	each(ctx, e.Rate, func(context.Context) {
		if failed != nil {
			return
		}
		if shell == nil {
			if shell, failed = e.apps.cluster.StartShell(working, "-addr="+addrs); failed != nil {
				return
			}
			shell.Limit = echoLimit
			session, line = int(e.sessions.Add(1)), 0
		}
		line++
		if over := e.echo(shell, session, line, random); over || line == sessionLines {
			shell.Stop()
			shell = nil
		}
	})
	if shell != nil {
		shell.Stop()
	}
	return failed
}

// echo sends one line, and says whether the session is of no more use.
func (e *Exec) echo(shell *harness.Shell, session, line int, random *rand.Rand) (over bool) {
	var sent strings.Builder
	fmt.Fprintf(&sent, "%d/%d ", session, line)
	for want := random.IntN(maxEcho); sent.Len() < want; {
		fmt.Fprintf(&sent, "%016x", random.Uint64())
	}
	one := check.Echo{Session: session, Call: e.history.now(), Size: sent.Len()}
	err := shell.Echo(sent.String())
	one.Return = e.history.now()
	switch {
	case err == nil:
		one.End = check.Same
	case errors.Is(err, harness.ErrSessionEnded):
		one.End, one.Text = check.Over, shell.Reason()
	case errors.Is(err, harness.ErrNoAnswer):
		one.End = check.Silent
	default:
		one.End, one.Text = check.Wrong, err.Error()
	}
	e.history.add(one)
	return err != nil
}

// Check judges what came back.
func (e *Exec) Check(context.Context) *check.Verdict { return check.Echoes(e.history.all()) }
