package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"waypoint/test/harness"
)

const (
	settleFor    = 10 * time.Second // before memory is read
	idleFor      = 60 * time.Second
	execSessions = 100
	mib          = 1 << 20
)

// measureEntrypoint measures what the entrypoint costs an application.
func measureEntrypoint(ctx context.Context, c *harness.Cluster) ([]row, error) {
	if err := need("tini", "dumb-init", "gcc"); err != nil {
		return nil, err
	}
	d, err := harness.Deploy(ctx, c, "small")
	if err != nil {
		return nil, err
	}
	rows, err := sizes(c)
	if err != nil {
		return rows, err
	}
	use, err := footprint(ctx, c, d)
	rows = append(rows, use...)
	if err != nil {
		return rows, err
	}
	starts, err := startTimes(ctx, c, d)
	return append(rows, starts...), err
}

// inits are the peers: programs that run a command as a container's first
// process, and do nothing else.
func inits() [][]string { return [][]string{{"tini", "-s", "--"}, {"dumb-init"}} }

// sizes compares the binaries.
func sizes(c *harness.Cluster) ([]row, error) {
	size := func(path string) (float64, error) {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		return float64(info.Size()) / 1e6, nil
	}
	own, err := size(filepath.Join(c.Bin, "waypoint-entrypoint"))
	if err != nil {
		return nil, err
	}
	r := row{name: "entrypoint: binary", unit: "MB", samples: []float64{own}, peer: "tini", bar: bar{atMost, 10}}
	path, err := exec.LookPath("tini")
	if err != nil {
		return nil, err
	}
	peer, err := size(path)
	r.against = []float64{peer}
	return []row{r}, err
}

// footprint measures memory and CPU of attached instances whose application
// sleeps, each of them a round.
func footprint(ctx context.Context, c *harness.Cluster, d *harness.Deployment) ([]row, error) {
	var instances []*harness.Instance
	defer func() {
		for _, i := range instances {
			i.Stop(10 * time.Second)
		}
	}()
	for range rounds {
		i, err := d.StartInstance(nil, nil, "sleep", "infinity")
		if err != nil {
			return nil, err
		}
		instances = append(instances, i)
	}
	if err := harness.Attached(ctx, c, rounds, time.Minute); err != nil {
		return nil, err
	}
	peers, err := peerMemory(ctx)
	if err != nil {
		return nil, err
	}
	idle := row{name: "entrypoint: resident, idle", unit: "MiB", bar: bar{atMost, 12}, peer: "tini", against: peers}
	cpu := row{name: fmt.Sprintf("entrypoint: CPU in %.0f idle seconds", idleFor.Seconds()), unit: "s", bar: bar{atMost, 0.05}}
	after := row{name: fmt.Sprintf("entrypoint: resident, after %d exec sessions", execSessions), unit: "MiB", bar: bar{atMost, 14}}
	before, err := usages(ctx, instances, settleFor)
	if err != nil {
		return nil, err
	}
	rested, err := usages(ctx, instances, idleFor)
	if err != nil {
		return nil, err
	}
	for i := range instances {
		idle.samples = append(idle.samples, float64(rested[i].Resident)/mib)
		cpu.samples = append(cpu.samples, (rested[i].CPU - before[i].CPU).Seconds())
	}
	if err := runSessions(ctx, c); err != nil {
		return nil, err
	}
	busy, err := usages(ctx, instances, settleFor)
	if err != nil {
		return nil, err
	}
	for i := range instances {
		after.samples = append(after.samples, float64(busy[i].Resident)/mib)
	}
	return []row{idle, after, cpu}, nil
}

// usages reads what every instance uses, after a while.
func usages(ctx context.Context, instances []*harness.Instance, after time.Duration) ([]harness.Usage, error) {
	if err := pause(ctx, after); err != nil {
		return nil, err
	}
	var all []harness.Usage
	for _, i := range instances {
		u, err := harness.UsageOf(i.Pid())
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runSessions runs the exec sessions in every instance, in all of them at once.
func runSessions(ctx context.Context, c *harness.Cluster) error {
	list, err := c.Instances(ctx)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	failed := make(chan error, len(list))
	for _, i := range list {
		group.Go(func() {
			for n := range execSessions {
				want := fmt.Sprintf("session %d\n", n)
				out, err := c.Run(ctx, "exec", "-instance="+i.GetId(), "--", "printf", want)
				if err == nil && out != want {
					err = fmt.Errorf("exec printed %q, want %q", out, want)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failed)
	var errs []error
	for err := range failed {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// peerMemory is what tini takes with the same application, in MiB.
func peerMemory(ctx context.Context) ([]float64, error) {
	argv := append(slices.Clone(inits()[0]), "sleep", "infinity")
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt) // which it passes on
		_ = cmd.Wait()
	}()
	if err := pause(ctx, time.Second); err != nil {
		return nil, err
	}
	u, err := harness.UsageOf(cmd.Process.Pid)
	return []float64{float64(u.Resident) / mib}, err
}

// need fails early with what to do when a program is missing.
func need(programs ...string) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p); errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is missing: run \"scripts/setup bench\"", p)
		}
	}
	return nil
}
