package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"waypoint/api/jobpb"
	"waypoint/api/runnerpb"
	"waypoint/client"
	"waypoint/internal/ids"
	"waypoint/test/harness"
)

const (
	jobRunners = 8
	jobsARound = 1000 // as many as the cluster keeps of those that have ended
	submitters = 48
	jobsLimit  = time.Minute
)

// measureJobs measures jobs that do nothing through the queue: from the first
// submit until the last has ended, with 8 runner agents, each a process of its own
// with its default slots. Every job must have been run by one runner, once.
func measureJobs(ctx context.Context, shared *harness.Cluster) ([]row, error) {
	return fresh(ctx, shared, "jobs", func(c *harness.Cluster) (rows []row, err error) {
		agents, err := startRunners(ctx, c, jobRunners)
		defer func() { err = errors.Join(err, agents.stop()) }()
		if err != nil {
			return nil, err
		}
		rate := row{name: fmt.Sprintf("jobs: no-op jobs through the queue, %d runners", jobRunners), unit: "per s", bar: bar{atLeast, 500}}
		again := row{name: "jobs: of these not run exactly once", unit: "jobs", bar: bar{neverAbove, 0}}
		for range rounds {
			took, list, err := runJobs(ctx, c, jobsARound)
			if err != nil {
				return nil, err
			}
			wrong, err := agents.notOnce(ctx, c, list)
			if err != nil {
				return nil, err
			}
			rate.samples = append(rate.samples, jobsARound/took.Seconds())
			again.samples = append(again.samples, float64(wrong))
		}
		return []row{rate, again}, nil
	})
}

// runJobs submits so many jobs over all nodes and returns when none is left.
func runJobs(ctx context.Context, c *harness.Cluster, count int) (took time.Duration, list []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, jobsLimit)
	defer cancel()
	var conns []*client.Client
	defer func() {
		for _, conn := range conns {
			err = errors.Join(err, conn.Close())
		}
	}()
	for i := range c.Nodes {
		conn, err := c.Dial(i)
		if err != nil {
			return 0, nil, err
		}
		conns = append(conns, conn)
	}
	for range count {
		list = append(list, ids.New())
	}
	start := time.Now()
	if err := submit(ctx, conns, list); err != nil {
		return 0, nil, err
	}
	if err := noneLeft(ctx, conns[0]); err != nil {
		return 0, nil, err
	}
	return time.Since(start), list, nil
}

func submit(ctx context.Context, conns []*client.Client, list []string) error {
	var next atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, submitters)
	for n := range submitters {
		group.Go(func() {
			api := jobpb.NewJobServiceClient(conns[n%len(conns)].Conn())
			for i := next.Add(1) - 1; i < int64(len(list)); i = next.Add(1) - 1 {
				_, err := api.Submit(ctx, &jobpb.SubmitRequest{Id: list[i], Spec: &jobpb.Spec{Operation: jobpb.Operation_OPERATION_NOOP}})
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failed)
	return <-failed
}

// noneLeft waits until no job is queued or runs.
func noneLeft(ctx context.Context, conn *client.Client) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		reply, err := jobpb.NewJobServiceClient(conn.Conn()).List(ctx, &jobpb.ListRequest{
			States: []jobpb.State{jobpb.State_STATE_QUEUED, jobpb.State_STATE_RUNNING}, Limit: 1,
		})
		if err != nil || len(reply.GetJobs()) == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// runners are running runner agents.
type runners struct {
	agents []*exec.Cmd
	logs   []string // files
}

func startRunners(ctx context.Context, c *harness.Cluster, count int) (*runners, error) {
	r := &runners{}
	for n := range count {
		name := fmt.Sprintf("runner%d", n)
		path := filepath.Join(c.Dir, name+".log")
		log, err := os.Create(path)
		if err != nil {
			return r, err
		}
		cmd := c.Command(ctx, "runner", "agent", "-name="+name)
		cmd.Stderr = log
		err = errors.Join(cmd.Start(), log.Close())
		if err != nil {
			return r, err
		}
		r.agents, r.logs = append(r.agents, cmd), append(r.logs, path)
	}
	conn, err := c.Dial(0)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	return r, harness.Until(ctx, time.Minute, func() error {
		reply, err := runnerpb.NewRunnerServiceClient(conn.Conn()).List(ctx, &runnerpb.ListRequest{})
		if err == nil && len(reply.GetRunners()) != count {
			err = fmt.Errorf("%d of %d runners are attached", len(reply.GetRunners()), count)
		}
		return err
	})
}

// notOnce counts the jobs that did not succeed in their first attempt, or were
// not begun exactly once by the word of the runners themselves.
func (r *runners) notOnce(ctx context.Context, c *harness.Cluster, list []string) (wrong int, err error) {
	begun, err := r.begun()
	if err != nil {
		return 0, err
	}
	conn, err := c.Dial(0)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	reply, err := jobpb.NewJobServiceClient(conn.Conn()).List(ctx, &jobpb.ListRequest{Limit: uint32(len(list))})
	if err != nil {
		return 0, err
	}
	once := map[string]bool{}
	for _, job := range reply.GetJobs() {
		once[job.GetId()] = job.GetState() == jobpb.State_STATE_SUCCEEDED && job.GetAttempt() == 1
	}
	for _, id := range list {
		if !once[id] || begun[id] != 1 {
			wrong++
		}
	}
	return wrong, nil
}

// begun reads from what the runners print how often each job was begun.
func (r *runners) begun() (map[string]int, error) {
	pattern := regexp.MustCompile(`job assigned: job=(\w+)`)
	begun := map[string]int{}
	for _, path := range r.logs {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			if found := pattern.FindStringSubmatch(lines.Text()); found != nil {
				begun[found[1]]++
			}
		}
		if err := errors.Join(lines.Err(), file.Close()); err != nil {
			return nil, err
		}
	}
	return begun, nil
}

// stop ends the runners.
func (r *runners) stop() error {
	for _, cmd := range r.agents {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	}
	var errs []error
	for _, cmd := range r.agents {
		errs = append(errs, cmd.Wait())
	}
	return errors.Join(errs...)
}
