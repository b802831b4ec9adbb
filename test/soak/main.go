// Command soak runs everything at once for a while and watches that nothing
// grows, is lost or restarts without a reason: three nodes that are killed and
// restarted, applications that log much, little, and crash, configuration
// changes, exec sessions and bursts of lines. It stops by itself, cleans up, and
// exits with 1 if a promise was broken.
//
// Usage, from the repository's root, after "make build":
//
//	go run ./test/soak [-seed=N] [DURATION]
//
// It sees only what a user sees: what commands print and what processes use.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"waypoint/test/harness"
)

const defaultDuration = 30 * time.Minute

func main() {
	if len(os.Args) > 2 && os.Args[1] == appCommand {
		os.Exit(app(os.Args[2]))
	}
	seed := flag.Uint64("seed", uint64(time.Now().Unix()), "the `number` that the order of events comes from")
	flag.Parse()
	duration := defaultDuration
	if text := flag.Arg(0); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil || duration < time.Minute {
			fmt.Fprintf(os.Stderr, "soak: %q is not a time of at least 1m\n", text)
			os.Exit(2)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *seed, duration); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// run does everything below a new folder, which is removed unless a promise was
// broken.
func run(ctx context.Context, seed uint64, duration time.Duration) (err error) {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "waypoint-soak-")
	if err != nil {
		return err
	}
	c := harness.New(filepath.Join(root, "bin"), dir)
	c.AnyPort = true
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, c.Close(closing))
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\nthe nodes' logs are kept in %s", err, dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	fmt.Printf("soak: %s, seed %d\n", duration, seed)
	if err := c.Start(ctx, 3); err != nil {
		return err
	}
	s, err := newSoak(ctx, c, seed)
	if err != nil {
		return err
	}
	return s.run(ctx, duration)
}
