// Command bench measures the product and prints one table. It runs real nodes
// on loopback with their defaults, and sends load to loopback only.
//
// Usage, from the repository's root, after "make build":
//
//	go run ./test/bench [NAME...]
//
// Without names it runs every benchmark. Figures of a shared machine drift:
// each is the median of its rounds, with the lowest and the highest beside it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"waypoint/test/harness"
)

// row is one line of the table.
type row struct {
	name    string
	unit    string
	samples []float64
}

// benchmark measures something on a running cluster of three nodes.
type benchmark struct {
	name string
	run  func(context.Context, *harness.Cluster) ([]row, error)
}

func benchmarks() []benchmark {
	return []benchmark{
		{"fsync", measureFsync},
		{"write", measureWrites},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) (err error) {
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
	defer func() {
		// The caller's context may have ended; the nodes must end all the same.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, c.Close(closing))
	}()
	if err := c.Start(ctx, 3); err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "what\tmedian\tlowest\thighest\tunit\t")
	for _, b := range benchmarks() {
		if len(names) > 0 && !slices.Contains(names, b.name) {
			continue
		}
		rows, err := b.run(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		for _, r := range rows {
			slices.Sort(r.samples)
			fmt.Fprintf(out, "%s\t%.0f\t%.0f\t%.0f\t%s\t\n", r.name, r.samples[len(r.samples)/2],
				r.samples[0], r.samples[len(r.samples)-1], r.unit)
		}
	}
	return out.Flush()
}
