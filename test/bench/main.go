// Command bench measures the product and prints one table: our figure, the
// peer's where there is one, and the bar that ours must hold. It runs real
// nodes on loopback with their defaults, and sends load to loopback only.
//
// Usage, from the repository's root, after "make build":
//
//	go run ./test/bench [NAME...]
//
// Without names it runs every benchmark. It exits with 1 when a bar was missed.
// Figures of a shared machine drift: each is the median of its rounds, with the
// lowest and the highest beside it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"waypoint/test/harness"
)

// benchmark measures something on a running cluster of three nodes.
type benchmark struct {
	name string
	run  func(context.Context, *harness.Cluster) ([]row, error)
}

func benchmarks() []benchmark {
	return []benchmark{
		{"fsync", measureFsync},
		{"server", measureServer},
		{"up", measureUp},
		{"attach", measureAttach},
		{"fanout", measureFanout},
		{"write", measureWrites},
		{"entrypoint", measureEntrypoint},
		{"logs", measureLogs},
	}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == appCommand {
		os.Exit(app(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	work := func() error { return run(ctx, os.Args[1:]) }
	if len(os.Args) > 1 && os.Args[1] == crowdCommand {
		work = func() error { return runCrowd(ctx) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run runs the named benchmarks, all of them without names, and prints what
// they found.
func run(ctx context.Context, names []string) (err error) {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "waypoint-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	c := harness.New(filepath.Join(root, "bin"), dir)
	c.AnyPort = true
	defer func() {
		// The caller's context may have ended; the nodes must end all the same.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, c.Close(closing))
	}()
	if err := c.Start(ctx, 3); err != nil {
		return err
	}
	var rows []row
	for _, b := range chosen {
		fmt.Fprintf(os.Stderr, "measuring %s ...\n", b.name)
		found, err := b.run(ctx, c)
		rows = append(rows, found...)
		if err != nil {
			_, _ = printTable(os.Stdout, rows)
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	missed, err := printTable(os.Stdout, rows)
	if err == nil && missed > 0 {
		err = fmt.Errorf("%d bars were missed", missed)
	}
	return err
}

// choose returns the benchmarks of these names.
func choose(names []string) ([]benchmark, error) {
	all := benchmarks()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []benchmark
	for _, name := range names {
		i := slices.IndexFunc(all, func(b benchmark) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no benchmark %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
