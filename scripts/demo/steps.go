package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"waypoint/test/harness"
)

// show runs a command as a user would and prints it with its output.
func (d *demo) show(ctx context.Context, args ...string) (string, error) {
	d.out.command(append([]string{"waypoint"}, args...)...)
	text, err := d.cluster.Run(ctx, args...)
	d.out.quote(text)
	return text, err
}

// showLines prints the next n log lines that contain text.
func (d *demo) showLines(ctx context.Context, n int, text string) error {
	lines, err := d.logs.Next(ctx, n, 20*time.Second, text)
	d.out.quote(strings.Join(lines, "\n"))
	return err
}

func (d *demo) startCluster(ctx context.Context) error {
	d.out.command("waypoint", "server", "run", "-bootstrap", "-data-dir=n1")
	if err := d.cluster.StartFirst(ctx); err != nil {
		return err
	}
	d.out.say("n1 is up: it made a certificate authority, keys and the first user token.")
	for _, name := range []string{"n2", "n3"} {
		d.out.command("waypoint", "server", "join-token")
		d.out.command("waypoint", "server", "run", "-join-token=...", "-data-dir="+name)
		if err := d.cluster.JoinNext(ctx); err != nil {
			return err
		}
	}
	d.out.say("n2 and n3 have joined; they vote as soon as they have caught up ...")
	if err := harness.Until(ctx, 60*time.Second, func() error { return d.cluster.Voters(ctx, 3) }); err != nil {
		return err
	}
	if err := d.cluster.Login(ctx); err != nil {
		return err
	}
	_, err := d.show(ctx, "operator", "members")
	return err
}

func (d *demo) deployApp(ctx context.Context) error {
	app := filepath.Join(d.cluster.Dir, "hello")
	if err := os.CopyFS(app, os.DirFS(filepath.Join(d.root, "examples", "hello"))); err != nil {
		return err
	}
	d.cluster.WorkDir = app
	d.out.command("cd", "examples/hello")
	_, err := d.show(ctx, "up")
	return err
}

func (d *demo) showInstances(ctx context.Context) error {
	if _, err := d.show(ctx, "instance", "list"); err != nil {
		return err
	}
	instances, err := d.cluster.Instances(ctx)
	if err != nil {
		return err
	}
	if len(instances) != 2 {
		return fmt.Errorf("%d instances are attached, want 2", len(instances))
	}
	return nil
}

func (d *demo) showLogs(ctx context.Context) error {
	d.out.command("waypoint", "logs", "-f")
	var err error
	if d.logs, err = d.cluster.Follow(ctx); err != nil {
		return err
	}
	if err := d.showLines(ctx, 6, ""); err != nil {
		return err
	}
	d.out.held("lines of %d instances, merged by time", d.logs.Sources())
	return nil
}

func (d *demo) changeConfig(ctx context.Context) error {
	if _, err := d.show(ctx, "config", "set", "GREETING=Good evening"); err != nil {
		return err
	}
	start := time.Now()
	if err := d.showLines(ctx, 4, "Good evening"); err != nil {
		return fmt.Errorf("the new greeting did not arrive: %w", err)
	}
	d.out.held("the application runs with the new value, seen after %.1f s", time.Since(start).Seconds())
	d.out.say("The instances restart by turns; the second one waits until the first has run for a while ...")
	if err := harness.Until(ctx, time.Minute, func() error { return d.nobodyWaits(ctx) }); err != nil {
		return err
	}
	d.out.held("both instances run with it after %.1f s", time.Since(start).Seconds())
	return nil
}

// nobodyWaits returns an error while an instance is to restart for a newer
// configuration or does so.
func (d *demo) nobodyWaits(ctx context.Context) error {
	instances, err := d.cluster.Instances(ctx)
	if err != nil {
		return err
	}
	for _, i := range instances {
		if i.GetChildPid() == 0 || len(i.GetRestartWanted()) > 0 {
			return fmt.Errorf("instance %s does not run with the newest configuration", i.GetId())
		}
	}
	return nil
}

func (d *demo) runExec(ctx context.Context) error {
	text, err := d.show(ctx, "exec", "--", "sh", "-c", "echo I am process $$ and was told: $GREETING")
	if err != nil {
		return err
	}
	if !strings.Contains(text, "was told: Good evening") {
		return errors.New("the command did not see the application's configuration")
	}
	return nil
}

func (d *demo) killLeader(ctx context.Context) error {
	instances, err := d.cluster.Instances(ctx)
	if err != nil {
		return err
	}
	for _, i := range instances {
		d.starts[i.GetId()] = i.GetChildStarts()
	}
	leader, err := d.cluster.Leader(ctx)
	if err != nil {
		return err
	}
	shell, err := d.cluster.StartShell(ctx)
	if err != nil {
		return err
	}
	defer shell.Stop()
	if err := shell.Echo("before"); err != nil {
		return err
	}
	writes := harness.StartWriter(ctx, func(ctx context.Context, n int) error {
		// Projects of their own keep these writes away from the application's configuration.
		_, err := d.cluster.Run(ctx, "project", "apply", fmt.Sprintf("tick-%d", n))
		return err
	})
	defer writes.Stop()
	if err := writes.Await(ctx, 20, 30*time.Second); err != nil {
		return err
	}
	d.logs.Forget()
	d.out.command("kill", "-9", fmt.Sprint(leader.Pid()))
	d.out.say("that was %s, the leader", leader.Name)
	leader.Kill()
	if err := writes.Await(ctx, 30, 30*time.Second); err != nil {
		return fmt.Errorf("writes did not go on: %w", err)
	}
	if err := d.showLines(ctx, 6, ""); err != nil {
		return fmt.Errorf("log lines did not go on: %w", err)
	}
	writes.Stop()
	if err := d.judgeWrites(writes.Result()); err != nil {
		return err
	}
	if missing := d.logs.Missing(); missing != "" {
		return fmt.Errorf("log lines are missing: %s", missing)
	}
	d.out.held("the running \"logs -f\" went on and missed no line")
	return d.judgeShell(shell)
}

func (d *demo) judgeWrites(gap time.Duration, failed int, last error) error {
	if failed > 0 {
		return fmt.Errorf("%d writes failed: %w", failed, last)
	}
	if gap > 2*time.Second {
		return fmt.Errorf("writes paused for %.2f s, more than 2 s", gap.Seconds())
	}
	d.out.held("no write failed; the longest time between two successful writes was %.2f s", gap.Seconds())
	return nil
}

// judgeShell says what became of the open session: it went on, or its way led
// through the lost node and its end was reported.
func (d *demo) judgeShell(shell *harness.Shell) error {
	err := shell.Echo("after")
	switch {
	case err == nil:
		d.out.held("the open exec session went on")
	case errors.Is(err, harness.ErrSessionEnded):
		reason := shell.Reason()
		if reason == "" {
			return errors.New("the open exec session ended without a word")
		}
		d.out.held("the open exec session ran through the lost node, and its end was reported:")
		d.out.quote(reason)
	default:
		return err
	}
	return nil
}

func (d *demo) afterKill(ctx context.Context) error {
	if err := harness.Until(ctx, 20*time.Second, func() error { return d.sameInstances(ctx) }); err != nil {
		return err
	}
	if _, err := d.show(ctx, "instance", "list"); err != nil {
		return err
	}
	d.out.held("both instances are attached to living nodes; no application process was restarted")
	if _, err := d.show(ctx, "exec", "--", "echo", "still here"); err != nil {
		return err
	}
	if _, err := d.show(ctx, "config", "set", "GREETING=Good night"); err != nil {
		return err
	}
	if err := d.showLines(ctx, 2, "Good night"); err != nil {
		return err
	}
	d.out.held("config, logs and exec work without the node that was lost")
	if _, err := d.show(ctx, "status"); err != nil {
		return err
	}
	_, err := d.show(ctx, "operator", "members")
	return err
}

// sameInstances returns an error unless exactly the instances from before the
// kill are attached, with as many starts of their child as before.
func (d *demo) sameInstances(ctx context.Context) error {
	instances, err := d.cluster.Instances(ctx)
	if err != nil {
		return err
	}
	if len(instances) != len(d.starts) {
		return fmt.Errorf("%d of %d instances are attached", len(instances), len(d.starts))
	}
	for _, i := range instances {
		if starts, ok := d.starts[i.GetId()]; !ok || starts != i.GetChildStarts() {
			return fmt.Errorf("instance %s: %d starts of its application before, %d now", i.GetId(), starts, i.GetChildStarts())
		}
	}
	return nil
}

// howToGoOn tells how to use the running cluster from another terminal.
func (d *demo) howToGoOn() {
	dir := d.cluster.Dir
	d.out.say("")
	d.out.say("The cluster keeps running. In another terminal:")
	d.out.say("")
	d.out.say("  export PATH=%s:$PATH XDG_CONFIG_HOME=%s XDG_STATE_HOME=%s", d.cluster.Bin,
		filepath.Join(dir, "config"), filepath.Join(dir, "state"))
	d.out.say("  cd %s", d.cluster.WorkDir)
	for _, args := range []string{"status", "logs -f", "exec -it -- sh", "config set GREETING=Hi", "up"} {
		d.out.say("  waypoint %s", args)
	}
	for _, n := range d.cluster.Nodes {
		if !n.Running() {
			d.out.say("  waypoint server run -data-dir=%s   # brings %s back", n.Data, n.Name)
		}
	}
	d.out.say("")
	d.out.say("Ctrl-C here stops everything that the demo has started.")
}
