//go:build faults

package load

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"waypoint/test/harness"
)

// startCluster runs three nodes of the built binaries for the time of the test.
func startCluster(t *testing.T) *harness.Cluster {
	t.Helper()
	bin, err := filepath.Abs("../../../bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "waypoint")); err != nil {
		t.Fatalf("no binaries: run \"make build\" first: %v", err)
	}
	return startNodes(t, bin, 3)
}

// runWhile prepares the workloads, runs them at the same time while disturb does
// its work, and for a while before and after it, and checks them.
func runWhile(t *testing.T, disturb func(ctx context.Context), workloads ...Workload) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for _, w := range workloads {
		if err := w.Prepare(ctx); err != nil {
			t.Fatalf("prepare %s: %v", w.Name(), err)
		}
	}
	running, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	for _, w := range workloads {
		tasks.Go(func() {
			if err := w.Run(running); err != nil {
				t.Errorf("run %s: %v", w.Name(), err)
			}
		})
	}
	pause(ctx, 3*time.Second)
	disturb(ctx)
	pause(ctx, 3*time.Second)
	stop()
	tasks.Wait()
	for _, w := range workloads {
		v := w.Check(ctx)
		t.Logf("%s", v)
		if v.Err() == nil {
			continue
		}
		t.Errorf("%v", v.Err())
		if files, err := v.Save(t.ArtifactDir()); err == nil {
			t.Logf("kept with -artifacts: %v", files)
		}
	}
}

// awaitLeader returns the node that leads: on a busy machine there may be none
// for a moment.
func awaitLeader(ctx context.Context, c *harness.Cluster) (leader *harness.Node, err error) {
	err = harness.Until(ctx, 30*time.Second, func() error {
		leader, err = c.Leader(ctx)
		return err
	})
	return leader, err
}

// killLeader kills the leader and starts it again.
func killLeader(t *testing.T, c *harness.Cluster) func(ctx context.Context) {
	return func(ctx context.Context) {
		leader, err := awaitLeader(ctx, c)
		if err == nil {
			leader.Signal(syscall.SIGKILL)
			err = harness.Until(ctx, 10*time.Second, func() error {
				if leader.Running() {
					return errors.New("still running")
				}
				return nil
			})
		}
		if err == nil {
			err = leader.Start(ctx)
		}
		if err == nil {
			err = harness.Until(ctx, time.Minute, func() error { return c.Voters(ctx, 3) })
		}
		if err != nil {
			t.Errorf("kill the leader: %v", err)
		}
	}
}

func TestRegistersAreLinearizableWhenTheLeaderIsKilled(t *testing.T) {
	c := startCluster(t)
	runWhile(t, killLeader(t, c), NewRegisters(c), NewSnapshots(c))
}

func TestNothingIsLostWhenTheLeaderIsKilled(t *testing.T) {
	c := startCluster(t)
	apps := NewApps(c)
	runWhile(t, killLeader(t, c), NewSet(c), apps, NewLogs(apps), NewExec(apps))
}

func TestJobsAreCompletedOnceWhenTheLeaderIsKilled(t *testing.T) {
	c := startCluster(t)
	runWhile(t, killLeader(t, c), NewJobs(c))
}

// pause lets the workloads work.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
