package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"waypoint/test/harness"
)

const (
	writers    = 6
	totalLines = 100_000 // of each of them
	burstLines = 100_000
	paceFor    = 2 * time.Second // that a pace is held
)

// measureLogs measures lines from applications through their entrypoints, three
// nodes and one following command.
func measureLogs(ctx context.Context, c *harness.Cluster) ([]row, error) {
	many, err := onStage(ctx, c, "many", writers, func(s *stage) ([]row, error) {
		steady, err := lossFreePace(ctx, s, 90_000, 30_000, 6, rounds)
		if err != nil {
			return nil, err
		}
		steady.name = fmt.Sprintf("logs: %d instances, highest pace tried without loss", writers)
		steady.bar = bar{atLeast, 100_000}
		flat, err := flatOut(ctx, s)
		return append([]row{steady}, flat...), err
	})
	if err != nil {
		return many, err
	}
	one, err := onStage(ctx, c, "one", 1, func(s *stage) ([]row, error) {
		burst, err := bursts(ctx, s)
		if err != nil {
			return nil, err
		}
		steady, err := lossFreePace(ctx, s, 100_000, 50_000, 7, rounds)
		steady.name = "logs: 1 instance, highest pace tried without loss"
		return append(burst, steady), err
	})
	return append(many, one...), err
}

// stage is instances of a deployment that write lines when they are told to,
// and a reader that follows them.
type stage struct {
	cluster   *harness.Cluster
	order     string // the file that says how many lines, and at which pace
	instances []*harness.Instance
	reader    *logReader
}

// onStage measures with n instances and a reader that hears them all, and ends
// them.
func onStage(ctx context.Context, c *harness.Cluster, project string, n int, measure func(*stage) ([]row, error)) ([]row, error) {
	s := &stage{cluster: c, order: filepath.Join(c.Dir, project+".order")}
	defer s.strike()
	if err := s.set(ctx, project, n); err != nil {
		return nil, err
	}
	return measure(s)
}

func (s *stage) set(ctx context.Context, project string, n int) error {
	d, err := harness.Deploy(ctx, s.cluster, project)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for range n {
		i, err := d.StartInstance(nil, nil, self, appCommand, s.order)
		if err != nil {
			return err
		}
		s.instances = append(s.instances, i)
	}
	if err := harness.Attached(ctx, s.cluster, n, time.Minute); err != nil {
		return err
	}
	if s.reader, err = follow(ctx, s.cluster); err != nil {
		return err
	}
	return harness.Until(ctx, 30*time.Second, func() error {
		if got := s.reader.others.Load(); got < int64(n) {
			return fmt.Errorf("%d of %d instances are heard", got, n)
		}
		return nil
	})
}

// play lets every instance write its lines and waits until all have come or
// were told as lost. A line that came twice or out of order is an error.
func (s *stage) play(ctx context.Context, lines, pace int) (got tally, took time.Duration, err error) {
	if err := os.WriteFile(s.order, fmt.Appendf(nil, "%d %d\n", lines, pace), 0o600); err != nil {
		return got, 0, err
	}
	before := s.reader.tally()
	start := time.Now()
	for _, i := range s.instances {
		i.Signal(syscall.SIGUSR1)
	}
	got, err = s.reader.settled(ctx, before, int64(lines*len(s.instances)), time.Minute)
	return got, time.Unix(0, s.reader.newest.Load()).Sub(start), errors.Join(err, s.reader.wrong())
}

// strike ends everything.
func (s *stage) strike() {
	if s.reader != nil {
		s.reader.stop()
	}
	for _, i := range s.instances {
		i.Signal(syscall.SIGTERM)
	}
	for _, i := range s.instances {
		i.Stop(10 * time.Second)
	}
}

// flatOut lets the instances write as fast as they can, which is faster than
// anything can be carried: what counts is that the rest is told.
func flatOut(ctx context.Context, s *stage) ([]row, error) {
	rate := row{name: fmt.Sprintf("logs: %d instances as fast as they can, lines that arrive", writers), unit: "lines/s"}
	lost := row{name: "logs: of these told as lost", unit: "%"}
	for range rounds {
		got, took, err := s.play(ctx, totalLines, 0)
		if err != nil {
			return nil, err
		}
		rate.samples = append(rate.samples, float64(got.lines)/took.Seconds())
		lost.samples = append(lost.samples, 100*float64(got.lost)/(writers*totalLines))
	}
	return []row{rate, lost}, nil
}

// bursts lets one instance write very much at once.
func bursts(ctx context.Context, s *stage) ([]row, error) {
	lost := row{name: fmt.Sprintf("logs: burst of %d lines of one instance, lost", burstLines), unit: "lines", bar: bar{neverAbove, 0}}
	rate := row{name: "logs: that burst, from its begin to the reader's last line", unit: "lines/s"}
	for range rounds {
		got, took, err := s.play(ctx, burstLines, 0)
		if err != nil {
			return nil, err
		}
		lost.samples = append(lost.samples, float64(got.lost))
		rate.samples = append(rate.samples, burstLines/took.Seconds())
	}
	return []row{lost, rate}, nil
}

// lossFreePace raises the pace of all instances together, step by step, until
// lines are lost. Each round's figure is the rate that
// arrived in the last step before; 0 if there was none.
func lossFreePace(ctx context.Context, s *stage, from, step, steps, rounds int) (row, error) {
	r := row{unit: "lines/s"}
	for range rounds {
		best := 0.0
		for pace := from; pace < from+steps*step; pace += step {
			each := pace / len(s.instances)
			got, took, err := s.play(ctx, int(float64(each)*paceFor.Seconds()), each)
			if err != nil {
				return r, err
			}
			rate := float64(got.lines) / took.Seconds()
			if got.lost > 0 {
				break
			}
			best = max(best, rate)
		}
		r.samples = append(r.samples, best)
	}
	return r, nil
}
