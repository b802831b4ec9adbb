// Command bench measures the product and prints one table: our figure, the
// peer's where there is one, and the bar that ours must hold. It runs real
// nodes on loopback with their defaults, and sends load to loopback only.
//
// Usage, from the repository's root, after "make build":
//
//	go run ./test/bench [-v] [-profile=FOLDER] [NAME...]
//
// Without names it runs every benchmark. It exits with 1 when a bar was missed.
// With -v it also prints rows that explain others: where the CPU went, and how
// long calls took.
// Figures of a shared machine drift: each is the median of its rounds, with the
// lowest and the highest beside it.
package main

import (
	"context"
	"errors"
	"flag"
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

// options are what the caller chose.
type options struct {
	verbose bool
	bin     string // folder of the binaries
	profile string // folder for profiles of the CPU; none if empty
}

func (o options) benchmarks() []benchmark {
	return []benchmark{
		{"fsync", measureFsync},
		{"server", measureServer},
		{"up", measureUp},
		{"attach", measureAttach},
		{"fanout", measureFanout},
		{"jobs", measureJobs},
		{"recover", measureRecover},
		{"write", o.measureWrites},
		{"read", o.measureReads},
		{"failover", o.measureFailover},
		{"entrypoint", measureEntrypoint},
		{"logs", measureLogs},
	}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == appCommand {
		os.Exit(app(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == loadCommand {
		os.Exit(generate(os.Args[2:]))
	}
	var o options
	flag.BoolVar(&o.verbose, "v", false, "print also the rows that explain others")
	flag.StringVar(&o.bin, "bin", "bin", "the `folder` of the binaries")
	flag.StringVar(&o.profile, "profile", "", "a `folder` for CPU profiles of the nodes, which must be built with the tag pprof")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	work := func() error { return o.run(ctx, flag.Args()) }
	if len(os.Args) > 1 && os.Args[1] == crowdCommand {
		work = func() error { return runCrowd(ctx) }
	}
	if len(os.Args) > 1 && os.Args[1] == fillCommand {
		work = func() error { return fill(os.Args[2:]) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run runs the named benchmarks, all of them without names, and prints what
// they found.
func (o options) run(ctx context.Context, names []string) (err error) {
	chosen, err := o.choose(names)
	if err != nil {
		return err
	}
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "waypoint-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	c := harness.New(bin, dir)
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
func (o options) choose(names []string) ([]benchmark, error) {
	all := o.benchmarks()
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
