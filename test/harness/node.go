package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Node is one server process.
type Node struct {
	Name, Addr, Gossip string
	Data               string // its data directory
	Log                string // file with everything that it printed

	cluster *Cluster
	number  int // from 0
	cmd     *exec.Cmd
	lines   chan string   // its standard output until it is ready
	ended   chan struct{} // closed when the process is gone
}

// startNode starts the next node and returns when it says that it is ready,
// with what it has printed.
func (c *Cluster) startNode(ctx context.Context, args ...string) (*Node, []string, error) {
	number := len(c.Nodes)
	addrs, err := c.nodeAddrs(number)
	if err != nil {
		return nil, nil, err
	}
	name := fmt.Sprintf("n%d", number+1)
	n := &Node{Name: name, Addr: addrs[0], Gossip: addrs[1], cluster: c, number: number,
		Data: filepath.Join(c.Dir, name), Log: filepath.Join(c.Dir, name+".log")}
	c.Nodes = append(c.Nodes, n)
	lines, err := n.start(ctx, args...)
	return n, lines, err
}

// Start starts the node's process again from its data directory alone.
func (n *Node) Start(ctx context.Context) error {
	_, err := n.start(ctx)
	return err
}

// Join starts a new node in place of one that has been removed from the cluster:
// with its name, its addresses and its data directory, which must be empty.
func (n *Node) Join(ctx context.Context) error {
	token, err := n.cluster.joinToken(ctx)
	if err == nil {
		_, err = n.start(ctx, "-join-token="+token)
	}
	return err
}

func (n *Node) start(ctx context.Context, args ...string) ([]string, error) {
	log, err := os.OpenFile(n.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	profile := n.cluster.Profile
	if profile == "" {
		profile = "lan"
	}
	args = append([]string{"server", "run", "-name=" + n.Name, "-data-dir=" + n.Data, "-addr=" + n.Addr,
		"-gossip-addr=" + n.Gossip, "-profile=" + profile}, args...)
	if n.cluster.NodeArgs != nil {
		args = append(args, n.cluster.NodeArgs(n.number)...)
	}
	n.cmd = exec.Command(filepath.Join(n.cluster.Bin, "waypoint"), args...)
	n.cmd.Env, n.cmd.Dir, n.cmd.Stderr = n.cluster.env(), n.cluster.Dir, log
	if n.cluster.NodeEnv != nil {
		n.cmd.Env = append(n.cmd.Env, n.cluster.NodeEnv(n.number)...)
	}
	n.cluster.enter(n.cmd, NodeRole, n.number)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	n.lines, n.ended = make(chan string, 256), make(chan struct{})
	stdout, err := n.cmd.StdoutPipe()
	if err == nil {
		err = n.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	go n.follow(stdout, log)
	lines, err := n.waitReady(ctx)
	if err != nil {
		return lines, fmt.Errorf("node %s: %w", n.Name, err)
	}
	return lines, nil
}

// follow copies the node's output to its log until the process ends.
func (n *Node) follow(stdout io.Reader, log *os.File) {
	defer close(n.ended)
	defer log.Close()
	sc := bufio.NewScanner(stdout)
	for sc.Scan() {
		fmt.Fprintln(log, sc.Text())
		select {
		case n.lines <- sc.Text():
		default:
		}
	}
	_ = n.cmd.Wait() // its end shows as the closed channel; a kill is no error here
}

// waitReady reads what the node prints until its last line before it serves.
func (n *Node) waitReady(ctx context.Context) ([]string, error) {
	timer := time.NewTimer(60 * time.Second)
	defer timer.Stop()
	var lines []string
	for {
		select {
		case line := <-n.lines:
			lines = append(lines, line)
			if strings.Contains(line, "Press Ctrl-C") {
				return lines, nil
			}
		case <-n.ended:
			return lines, fmt.Errorf("ended before it was ready:\n%s", n.LastLog(10))
		case <-timer.C:
			return lines, errors.New("not ready after 60 s")
		case <-ctx.Done():
			return lines, ctx.Err()
		}
	}
}

// Pid returns the process id.
func (n *Node) Pid() int { return n.cmd.Process.Pid }

// Running says whether the process is there.
func (n *Node) Running() bool {
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (n *Node) Kill() {
	n.signal(syscall.SIGKILL)
	<-n.ended
}

// Ended is closed when the process is gone.
func (n *Node) Ended() <-chan struct{} { return n.ended }

// Terminate asks the process to leave with SIGTERM and waits for its end.
func (n *Node) Terminate(ctx context.Context) error {
	n.signal(syscall.SIGTERM)
	return n.wait(ctx)
}

// Signal sends any signal to the process.
func (n *Node) Signal(s syscall.Signal) { n.signal(s) }

// signal reaches only a process that is still ours: one that has been waited
// for is not signalled.
func (n *Node) signal(s syscall.Signal) {
	if n.Running() {
		_ = n.cmd.Process.Signal(s) // it may end at this moment
	}
}

func (n *Node) wait(ctx context.Context) error {
	select {
	case <-n.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("node %s did not end: %w", n.Name, ctx.Err())
	}
}

// LastLog returns the last lines that the node printed.
func (n *Node) LastLog(lines int) string {
	text, err := os.ReadFile(n.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// nodeAddrs returns the API and gossip address of the n-th node: the well-known
// ports in a host of its own, free ones on loopback.
func (c *Cluster) nodeAddrs(n int) ([2]string, error) {
	if c.Host == nil {
		return freeAddrs(n, c.AnyPort)
	}
	addr := c.Host(NodeRole, n).Addr()
	return [2]string{net.JoinHostPort(addr, "9701"), net.JoinHostPort(addr, "9703")}, nil
}

// freeAddrs returns the API and gossip address of the n-th node: the
// well-known ports shifted by 100 n, or any free ones where those are taken or
// any are wanted.
func freeAddrs(n int, wantAny bool) ([2]string, error) {
	var addrs [2]string
	for i, port := range []int{9701 + 100*n, 9703 + 100*n} {
		if wantAny {
			port = 0
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
				return addrs, err
			}
		}
		addrs[i] = l.Addr().String()
		if err := l.Close(); err != nil {
			return addrs, err
		}
	}
	return addrs, nil
}
