//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waypoint/test/faults/load"
)

// options are what a run is made of. The same make the same run, as far as
// processes can be made to.
type options struct {
	seed     uint64
	nodes    int
	duration time.Duration
	faults   []fault
	chosen   string // how the faults were asked for; empty: all
	quick    bool   // a run of "make test"
}

// repeat is the command that repeats a run.
func (o options) repeat() string {
	command := ""
	if tags := os.Getenv("FAULTS_TAGS"); tags != "" {
		command = "FAULTS_TAGS=" + tags + " "
	}
	command += fmt.Sprintf("make faults SEED=%d NODES=%d DURATION=%s", o.seed, o.nodes, o.duration)
	if o.chosen != "" {
		command += " FAULTS=" + strconv.Quote(o.chosen)
	}
	return command
}

// allFaults are the faults that a run chooses from.
func allFaults() []fault {
	return slices.Concat(processFaults(), networkFaults(), diskFaults(), clockFaults(), replacements())
}

// quickFaults are those that a short run has time for.
func quickFaults() []fault {
	return slices.DeleteFunc(allFaults(), func(f fault) bool { return f.slow })
}

// workloads are those who use the cluster.
func workloads(w *world, o options) []load.Workload {
	apps := load.NewApps(w.cluster)
	registers, snapshots, exec := load.NewRegisters(w.cluster), load.NewSnapshots(w.cluster), load.NewExec(apps)
	registers.Seed, snapshots.Seed, exec.Seed = o.seed, o.seed, o.seed
	return []load.Workload{registers, snapshots, load.NewSet(w.cluster), load.NewJobs(w.cluster), apps, load.NewLogs(apps), exec}
}

// quick is the list of faults that a short run has time for.
const quick = "quick"

// TestShortRun disturbs three nodes in each way that is quick.
func TestShortRun(t *testing.T) {
	disturb(t, options{seed: seed(t), nodes: 3, duration: 30 * time.Second, faults: quickFaults(), chosen: quick, quick: true})
}

// seed is the one that is asked for, or a new one.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("FAULTS_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano()) % 1_000_000
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("FAULTS_SEED: %v", err)
	}
	return n
}

// disturb does one run: a cluster, its users, and the nemesis. What a failed run
// says last is what failed.
func disturb(t *testing.T, o options) {
	t.Helper()
	t.Logf("seed %d; %q repeats this run", o.seed, o.repeat())
	w, err := newWorld(o.seed, o.nodes, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	failed := w.disturb(t.Context(), o)
	if err := w.close(); err != nil {
		failed = errors.Join(failed, fmt.Errorf("stop the cluster: %w", err))
	}
	if failed == nil {
		failed = os.RemoveAll(w.dir)
	}
	if failed == nil {
		return
	}
	for _, n := range w.cluster.Nodes {
		t.Logf("the last lines of %s:\n%s", n.Name, n.LastLog(20))
	}
	t.Logf("seed %d. All logs, the histories and the timeline are kept in %s\nRepeat it with: %s", o.seed, w.dir, o.repeat())
	t.Error(failed)
}

// disturb starts the cluster, lets the workloads work while the nemesis does,
// and judges.
func (w *world) disturb(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeout(ctx, o.duration+10*time.Minute)
	defer cancel()
	if err := w.start(ctx); err != nil {
		return err
	}
	used := workloads(w, o)
	for _, u := range used {
		if err := u.Prepare(ctx); err != nil {
			return fmt.Errorf("prepare %s: %w", u.Name(), err)
		}
	}
	failed := w.runUnder(ctx, o, used)
	failed = errors.Join(failed, w.judge(ctx, used, failed != nil))
	return errors.Join(failed, w.agree(ctx), w.crashes())
}

// runUnder lets the workloads work while the nemesis does.
func (w *world) runUnder(ctx context.Context, o options, used []load.Workload) error {
	working, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	failed := make([]error, len(used))
	for i, u := range used {
		tasks.Go(func() {
			if err := u.Run(working); err != nil {
				failed[i] = fmt.Errorf("run %s: %w", u.Name(), err)
			}
		})
	}
	n := &nemesis{world: w, seed: o.seed, plan: newPlan(o.seed, o.faults, !o.quick), hold: 6 * time.Second, quiet: time.Second}
	if o.quick {
		n.hold, n.quiet = 3*time.Second, 300*time.Millisecond
	}
	pause(ctx, n.quiet)
	err := n.run(ctx, o.duration)
	stop()
	tasks.Wait()
	return errors.Join(append(failed, err)...)
}

// judge prints what each workload concludes, and keeps the history of those
// that complain, and of all others once something has failed.
func (w *world) judge(ctx context.Context, used []load.Workload, keep bool) error {
	var failed []error
	for _, u := range used {
		v := u.Check(ctx)
		w.timeline.note("%s", v)
		if err := v.Err(); err != nil {
			failed, keep = append(failed, err), true
		}
		if !keep {
			continue
		}
		files, err := v.Save(w.dir)
		failed = append(failed, err)
		w.timeline.note("the history of %s: %s", u.Name(), strings.Join(files, " "))
	}
	return errors.Join(failed...)
}
