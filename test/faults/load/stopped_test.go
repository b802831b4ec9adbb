//go:build faults

package load

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waypoint/client"
	"waypoint/test/faults/check"
	"waypoint/test/harness"
)

func TestCheckerFindsReadsThatAreNotConfirmed(t *testing.T) {
	bite(t, "break_readindex", 3, "no order explains", readsOfAStoppedLeader)
}

func TestCheckerFindsAttemptsThatAreNotFenced(t *testing.T) {
	bite(t, "break_fencing", 3, "was completed by a stale attempt", lateFinish)
}

// readsOfAStoppedLeader stops the leader until another one leads and has taken
// writes, and reads through the old one the moment it goes on.
func readsOfAStoppedLeader(t *testing.T, c *harness.Cluster) *check.Verdict {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := newBench(t, c)
	for round := range 3 {
		old := leaderNumber(t, ctx, c)
		reader, writer := b.client(old), b.client((old+1)%len(c.Nodes))
		b.get(ctx, 0, reader)
		c.Nodes[old].Signal(syscall.SIGSTOP)
		o := b.begin(1, check.Write, fmt.Sprintf("v%d", round))
		b.set(ctx, writer, &o)
		b.done(o)
		// The requests wait in the stopped process's sockets.
		var reads sync.WaitGroup
		for n := range 20 {
			reads.Go(func() { b.get(ctx, 2+20*round+n, reader) })
		}
		pause(ctx, 200*time.Millisecond)
		c.Nodes[old].Signal(syscall.SIGCONT)
		reads.Wait()
		if err := harness.Until(ctx, 30*time.Second, func() error { return c.Voters(ctx, len(c.Nodes)) }); err != nil {
			t.Fatal(err)
		}
	}
	return check.Registers(b.history.all(), checkLimit)
}

func leaderNumber(t *testing.T, ctx context.Context, c *harness.Cluster) int {
	t.Helper()
	leader, err := awaitLeader(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range c.Nodes {
		if n == leader {
			return i
		}
	}
	t.Fatal("the leader is no node of the cluster")
	return 0
}

// lateJobs is how many jobs end late: the node that goes on must take up the
// message of one of them before it hears that others have gone on without it.
const lateJobs = 3

// lateScript is work that ends when it is told to, each time anew. Nobody waits
// for it for longer than two minutes.
const lateScript = `n=0
until [ -e go ] || [ $n -ge 1200 ]; do
	n=$((n+1))
	sleep 0.1
	say work
done
rm go
say finish
`

// lateFinish stops the leader, to which a runner is attached, and then the runner
// itself, after it has sent the end of its jobs. When another runner has taken
// them over, the old leader goes on and finds those messages.
func lateFinish(t *testing.T, c *harness.Cluster) *check.Verdict {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	j := &lateWork{t: t, Jobs: NewJobs(c)}
	old := leaderNumber(t, ctx, c)
	other := c.Nodes[(old+1)%len(c.Nodes)]
	conn, err := c.Dial(old + 1)
	must(t, err)
	defer conn.Close()
	must(t, makeProject(ctx, c, jobProject, "work"))
	first := j.runner(ctx, "-addr="+c.Nodes[old].Addr)
	j.said(ctx, first, "is attached", 1)
	for range lateJobs {
		must(t, j.submit(ctx, conn, lateScript))
	}
	j.began(ctx, conn, 1)

	c.Nodes[old].Signal(syscall.SIGSTOP)
	j.goOn()
	j.said(ctx, first, "job ended", lateJobs)
	must(t, first.cmd.Process.Signal(syscall.SIGSTOP))
	j.runner(ctx, "-addr="+other.Addr)
	j.began(ctx, conn, 2)

	c.Nodes[old].Signal(syscall.SIGCONT)
	must(t, first.cmd.Process.Signal(syscall.SIGCONT))
	j.decided(ctx, conn, first)
	j.goOn()
	must(t, harness.Until(ctx, 30*time.Second, func() error { return c.Voters(ctx, len(c.Nodes)) }))
	return j.Check(ctx)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lateWork is jobs whose work ends when the test says so.
type lateWork struct {
	*Jobs
	t *testing.T
}

// runner starts a runner and makes sure that it ends with the test.
func (j *lateWork) runner(ctx context.Context, flags ...string) *runnerProcess {
	j.t.Helper()
	r, err := j.startRunner(ctx, flags...)
	must(j.t, err)
	j.t.Cleanup(func() {
		if !r.stop() {
			_ = r.cmd.Process.Signal(syscall.SIGCONT) // it may have ended already
		}
		if text, _ := os.ReadFile(r.log); j.t.Failed() {
			j.t.Logf("%s:\n%s", r.log, text)
		}
	})
	return r
}

// saying counts how often a runner has said something.
func (r *runnerProcess) saying(text string) int {
	all, _ := os.ReadFile(r.log)
	return strings.Count(string(all), text)
}

// said waits until a runner has said something so many times.
func (j *lateWork) said(ctx context.Context, r *runnerProcess, text string, times int) {
	j.t.Helper()
	must(j.t, harness.Until(ctx, 30*time.Second, func() error {
		if got := r.saying(text); got < times {
			return fmt.Errorf("the runner has said %q %d times, want %d", text, got, times)
		}
		return nil
	}))
}

// began waits until so many processes have begun to work on each job.
func (j *lateWork) began(ctx context.Context, conn *client.Client, times int) {
	j.t.Helper()
	must(j.t, harness.Until(ctx, time.Minute, func() error {
		j.look(ctx, conn)
		for id, record := range j.jobs {
			text, _ := os.ReadFile(filepath.Join(record.folder, "ran"))
			if got := strings.Count(string(text), "begin "); got < times {
				return fmt.Errorf("job %s was begun %d times, want %d: %+v", id, got, times, record.newest)
			}
		}
		return nil
	}))
}

// decided waits until the late ends of all jobs are refused, or one is not.
func (j *lateWork) decided(ctx context.Context, conn *client.Client, late *runnerProcess) {
	j.t.Helper()
	must(j.t, harness.Until(ctx, time.Minute, func() error {
		j.look(ctx, conn)
		refused := late.saying("the end of a job was not recorded")
		if refused < lateJobs && j.open() == lateJobs {
			return fmt.Errorf("%d of %d late ends are refused, none is taken", refused, lateJobs)
		}
		return nil
	}))
}

// goOn lets the work on each job end.
func (j *lateWork) goOn() {
	j.t.Helper()
	for _, record := range j.jobs {
		must(j.t, os.WriteFile(filepath.Join(record.folder, "go"), nil, 0o600))
	}
}
