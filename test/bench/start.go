package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"waypoint/test/harness"
)

const startsPerRound = 21

// stamp is the smallest application: it says when it began, by the clock that
// never jumps, in nanoseconds.
const stamp = `#include <stdio.h>
#include <time.h>

int main(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
	return 0;
}
`

// startTimes measures the time from before the start of a process to the first
// instruction of its application: of the entrypoint with a healthy cluster, of
// the peers, and of the application alone, one after the other in turns.
func startTimes(ctx context.Context, c *harness.Cluster, d *harness.Deployment) ([]row, error) {
	child, err := compile(ctx, c.Dir)
	if err != nil {
		return nil, err
	}
	ways := [][]string{{filepath.Join(c.Bin, "waypoint-entrypoint")}, {}}
	ways = append(ways, inits()...)
	medians := make([][]float64, len(ways))
	for range rounds {
		samples := make([][]float64, len(ways))
		for range startsPerRound {
			for i, way := range ways {
				took, err := startOnce(ctx, d, append(slices.Clone(way), child))
				if err != nil {
					return nil, err
				}
				samples[i] = append(samples[i], took)
			}
		}
		for i := range ways {
			medians[i] = append(medians[i], median(samples[i]))
		}
	}
	const name = "entrypoint: start to the application's first instruction"
	rows := []row{{name: name, unit: "ms", samples: medians[0], peer: "no init", against: medians[1], bar: bar{atMost, 60}}}
	for i, way := range ways[2:] {
		rows = append(rows, row{name: name, unit: "ms", samples: medians[0], peer: way[0], against: medians[2+i]})
	}
	return rows, nil
}

func compile(ctx context.Context, dir string) (string, error) {
	source, binary := filepath.Join(dir, "stamp.c"), filepath.Join(dir, "stamp")
	if err := os.WriteFile(source, []byte(stamp), 0o600); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "gcc", "-O2", "-static", "-o", binary, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %s: %w\n%s", source, err, out)
	}
	return binary, nil
}

// startOnce returns the milliseconds that one start took.
func startOnce(ctx context.Context, d *harness.Deployment, argv []string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = d.Environ()
	before, err := monotonic()
	if err != nil {
		return 0, err
	}
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%v: %w", argv, err)
	}
	at, err := strconv.ParseInt(string(bytes.TrimSpace(out)), 10, 64)
	return float64(at-before) / 1e6, err
}

func monotonic() (int64, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano(), err
}
