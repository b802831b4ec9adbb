// Command demo shows the main job of Waypoint with the built binaries: three
// nodes on loopback, a real application deployed on them, and the loss of the
// leader. It prints what it does and what it saw, checks each step, and stops
// everything that it started.
//
// It is run by "make demo", in the repository's root. With DEMO=once it ends
// after the last step, with exit code 0 only if every step held; otherwise it
// leaves the cluster running until it is interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"waypoint/test/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	out := newScreen(os.Stdout)
	if err := run(ctx, out, os.Getenv("DEMO") == "once"); err != nil {
		out.fail(err)
		os.Exit(1)
	}
}

// demo is the state that steps hand on.
type demo struct {
	root    string
	out     *screen
	cluster *harness.Cluster
	logs    *harness.Follower
	starts  map[string]uint32 // child starts per instance before the leader is killed
}

// run does all steps below a new temporary folder and cleans up behind them.
func run(ctx context.Context, out *screen, once bool) (err error) {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "waypoint-demo-")
	if err != nil {
		return err
	}
	d := &demo{root: root, out: out, cluster: harness.New(filepath.Join(root, "bin"), dir), starts: map[string]uint32{}}
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	start := time.Now()
	for i, s := range d.steps() {
		out.title(i+1, s.title)
		if err := s.run(ctx); err != nil {
			if ctx.Err() != nil {
				return nil // interrupted: not a failure
			}
			d.showNodeLogs()
			return fmt.Errorf("step %d (%s): %w", i+1, s.title, err)
		}
	}
	out.done(time.Since(start))
	if !once {
		d.howToGoOn()
		<-ctx.Done()
	}
	return nil
}

type step struct {
	title string
	run   func(context.Context) error
}

// steps is the demonstration in order. Each returns an error if what a user is
// promised did not happen.
func (d *demo) steps() []step {
	return []step{
		{"Three nodes, one cluster", d.startCluster},
		{"Build, deploy and release an application", d.deployApp},
		{"Its instances and the node each is attached to", d.showInstances},
		{"Live log lines of both instances", d.showLogs},
		{"A configuration change arrives in the application", d.changeConfig},
		{"A command inside an instance", d.runExec},
		{"The leader is killed (-9) while writes, logs and exec go on", d.killLeader},
		{"The two nodes that are left carry on", d.afterKill},
	}
}

// cleanUp stops everything in the order that lets each part end well: the log
// reader, the application while there is a cluster to ask, the nodes.
func (d *demo) cleanUp() error {
	d.out.say("")
	d.out.say("Stopping what the demo has started ...")
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	if d.logs != nil {
		d.logs.Stop()
	}
	var errs []error
	if d.cluster.WorkDir != "" {
		if _, err := d.cluster.Run(ctx, "destroy", "-auto-approve"); err != nil {
			errs = append(errs, fmt.Errorf("destroy the application: %w", err))
		}
	}
	errs = append(errs, d.cluster.Close(ctx))
	if err := errors.Join(errs...); err != nil {
		d.out.say("The demo's files are kept in %s", d.cluster.Dir)
		return err
	}
	return os.RemoveAll(d.cluster.Dir)
}

// showNodeLogs prints the end of each node's log, for a failed step.
func (d *demo) showNodeLogs() {
	for _, n := range d.cluster.Nodes {
		d.out.say("the last lines of %s:", n.Name)
		d.out.quote(n.LastLog(10))
	}
}
