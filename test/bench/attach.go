package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/client"
	"waypoint/test/harness"
)

const (
	attachInstances = 10_000
	settleAttached  = 20 * time.Second // before memory is read
	registerLimit   = time.Minute
)

// measureAttach measures what attached instances cost three nodes: how many a
// second they register, from nothing, and the memory that each takes when all are
// there and idle, which is to say that they ping. The crowd's own use of the same processors
// is told beside it. Each round has new nodes.
func measureAttach(ctx context.Context, shared *harness.Cluster) ([]row, error) {
	if err := mayOpen(attachInstances + 1000); err != nil {
		return nil, err
	}
	rate := row{name: fmt.Sprintf("attach: %d instances on 3 nodes, until all are registered", attachInstances), unit: "per s", bar: bar{atLeast, 1000}}
	memory := row{name: "attach: memory of three nodes per idle instance", unit: "KiB", bar: bar{atMost, 64}}
	servers := row{name: "attach: CPU of the nodes per instance", unit: "ms"}
	clients := row{name: "attach: CPU of the simulated instances, each", unit: "ms"}
	for n := range rounds {
		_, err := fresh(ctx, shared, fmt.Sprintf("attach%d", n), func(c *harness.Cluster) ([]row, error) {
			got, err := attachRound(ctx, c, attachInstances)
			if err != nil {
				return nil, err
			}
			rate.samples = append(rate.samples, attachInstances/got.took.Seconds())
			memory.samples = append(memory.samples, float64(got.memory)/1024/attachInstances)
			servers.samples = append(servers.samples, 1000*got.servers.Seconds()/attachInstances)
			clients.samples = append(clients.samples, 1000*got.clients.Seconds()/attachInstances)
			return nil, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return []row{rate, memory, servers, clients}, nil
}

// attached is what one round found.
type attached struct {
	took             time.Duration
	servers, clients time.Duration // CPU of the nodes and of the crowd meanwhile
	memory           int64         // bytes by which the nodes have grown when all has settled
}

func attachRound(ctx context.Context, c *harness.Cluster, instances int) (got attached, err error) {
	d, err := harness.Deploy(ctx, c, "crowd")
	if err != nil {
		return got, err
	}
	if err := pause(ctx, settleAttached/4); err != nil {
		return got, err
	}
	before, err := nodeUsages(c)
	if err != nil {
		return got, err
	}
	crowd, err := startCrowd(ctx, d)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, crowd.end()) }()
	start := time.Now()
	if err := crowd.join(instances); err != nil {
		return got, err
	}
	if err := registered(ctx, c, d, instances); err != nil {
		return got, err
	}
	got.took = time.Since(start)
	busy, err := nodeUsages(c)
	if err != nil {
		return got, err
	}
	use, err := harness.UsageOf(crowd.cmd.Process.Pid)
	if err != nil {
		return got, err
	}
	got.clients = use.CPU
	if err := pause(ctx, settleAttached); err != nil {
		return got, err
	}
	after, err := nodeUsages(c)
	if err != nil {
		return got, err
	}
	for i := range after {
		got.servers += busy[i].CPU - before[i].CPU
		got.memory += after[i].Resident - before[i].Resident
	}
	return got, nil
}

// registered waits until the replicated state holds so many attached instances.
func registered(ctx context.Context, c *harness.Cluster, d *harness.Deployment, want int) error {
	conn, err := c.Dial(0)
	if err != nil {
		return err
	}
	defer conn.Close()
	return harness.Until(ctx, registerLimit, func() error {
		found, err := countAttached(ctx, conn, d)
		if err == nil && found != want {
			err = fmt.Errorf("%d of %d instances are registered", found, want)
		}
		return err
	})
}

func countAttached(ctx context.Context, conn *client.Client, d *harness.Deployment) (found int, err error) {
	reply, err := deploymentpb.NewDeploymentServiceClient(conn.Conn()).ListInstances(ctx, &deploymentpb.ListInstancesRequest{App: d.App})
	for _, i := range reply.GetInstances() {
		if i.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED {
			found++
		}
	}
	return found, err
}

// mayOpen fails early where a process may open fewer files than it takes.
func mayOpen(files uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Max < files {
		return fmt.Errorf("a process may open %d files and needs %d: raise it with \"ulimit -Hn %d\"", limit.Max, files, files)
	}
	return nil // Go raises the soft limit by itself
}

// crowdProcess is a running crowd.
type crowdProcess struct {
	cmd     *exec.Cmd
	orders  io.WriteCloser
	answers *bufio.Scanner
}

func startCrowd(ctx context.Context, d *harness.Deployment) (*crowdProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, crowdCommand)
	cmd.Env, cmd.Stderr = d.Environ(), os.Stderr
	p := &crowdProcess{cmd: cmd}
	if p.orders, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.answers = bufio.NewScanner(out)
	return p, cmd.Start()
}

// join lets so many instances attach and returns when all were welcomed.
func (p *crowdProcess) join(instances int) error {
	var joined int
	_, err := fmt.Sscanf(p.ask(fmt.Sprintf("join %d", instances)), "joined %d", &joined)
	if err == nil && joined != instances {
		err = fmt.Errorf("%d of %d instances joined", joined, instances)
	}
	return err
}

// wait returns when the first and the last instance got the value, by the clock
// that never jumps.
func (p *crowdProcess) wait(value string) (first, last int64, err error) {
	_, err = fmt.Sscanf(p.ask("wait "+value), "have "+value+" %d %d", &first, &last)
	return first, last, err
}

// ask returns the answer to an order, empty if the crowd has ended.
func (p *crowdProcess) ask(order string) string {
	if _, err := fmt.Fprintln(p.orders, order); err != nil || !p.answers.Scan() {
		return ""
	}
	return p.answers.Text()
}

// end lets every instance go.
func (p *crowdProcess) end() error {
	return errors.Join(p.orders.Close(), p.cmd.Wait())
}
