// Package harness runs a real cluster of built binaries, on loopback or in hosts
// that the caller has, the way a user would: every node, command and application is a process of its own, and
// everything it writes lies in one folder. The demonstration, the end-to-end
// tests, the fault runs and the benchmarks use it. It must know nothing of how
// the server works inside: it sees what commands print.
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"waypoint/api/clusterpb"
	"waypoint/api/deploymentpb"
	"waypoint/client"
)

// Cluster is a set of node processes and what a user needs to talk to them.
type Cluster struct {
	Bin     string // folder of the binaries
	Dir     string // everything is written below it
	WorkDir string // where commands run: a project's folder; Dir if empty
	Profile string // timing profile of the nodes; "lan" if empty
	AnyPort bool   // nodes listen on any free ports, never on the well-known ones
	// Host says where what plays a role runs; the number counts from 0. Nil:
	// beside the harness, on loopback.
	Host func(role Role, i int) Host
	// NodeEnv adds to the environment of the i-th node's process, NodeArgs to
	// its flags; nil: nothing.
	NodeEnv, NodeArgs func(i int) []string
	CA                string // "sha256:..." as the first node printed it
	Token             string // the first user token
	Nodes             []*Node
}

// New prepares a cluster below dir with the binaries in bin. Nothing is started.
func New(bin, dir string) *Cluster {
	return &Cluster{Bin: bin, Dir: dir}
}

var (
	caPattern    = regexp.MustCompile(`sha256:[0-9a-f]{64}`)
	tokenPattern = regexp.MustCompile(`wp1_[A-Za-z0-9_.-]+`)
	joinPattern  = regexp.MustCompile(`wpj_[A-Za-z0-9_.-]+`)
)

// Start brings up n nodes, waits until all of them vote and logs in to all of
// them. It fails after about a minute.
func (c *Cluster) Start(ctx context.Context, n int) error {
	if err := c.StartFirst(ctx); err != nil {
		return err
	}
	for range n - 1 {
		if err := c.JoinNext(ctx); err != nil {
			return err
		}
	}
	if err := Until(ctx, 60*time.Second, func() error { return c.Voters(ctx, n) }); err != nil {
		return err
	}
	return c.Login(ctx)
}

// StartFirst bootstraps the first node and logs in to it with what it printed.
func (c *Cluster) StartFirst(ctx context.Context) error {
	_, lines, err := c.startNode(ctx, "-bootstrap")
	if err != nil {
		return err
	}
	said := strings.Join(lines, "\n")
	c.CA, c.Token = caPattern.FindString(said), tokenPattern.FindString(said)
	if c.CA == "" || c.Token == "" {
		return fmt.Errorf("the first node printed no CA fingerprint or no token:\n%s", said)
	}
	return c.Login(ctx)
}

// JoinNext starts one more node with a new join token.
func (c *Cluster) JoinNext(ctx context.Context) error {
	token, err := c.joinToken(ctx)
	if err != nil {
		return err
	}
	_, _, err = c.startNode(ctx, "-join-token="+token)
	return err
}

func (c *Cluster) joinToken(ctx context.Context) (string, error) {
	text, err := c.Run(ctx, "server", "join-token")
	return joinPattern.FindString(text), err
}

// Login makes a context that lists every node that was started.
func (c *Cluster) Login(ctx context.Context) error {
	addrs := make([]string, 0, len(c.Nodes))
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr)
	}
	_, err := c.Run(ctx, "login", "-addr="+strings.Join(addrs, ","), "-ca="+c.CA, "-token="+c.Token)
	return err
}

// Dial returns a client of the API, without the CLI, that begins with the i-th
// node (modulo their number) and has the others as a way out.
func (c *Cluster) Dial(i int) (*client.Client, error) {
	addrs := make([]string, 0, len(c.Nodes))
	for n := range c.Nodes {
		addrs = append(addrs, c.Nodes[(i+n)%len(c.Nodes)].Addr)
	}
	cfg := client.Config{Addrs: addrs, CA: c.CA, Token: c.Token}
	if c.Host != nil {
		cfg.Dial = c.Host(ClientRole, i).Dial
	}
	return client.New(cfg)
}

// env is the environment of every process: nothing is read from or written to
// the home folder of whoever runs this.
func (c *Cluster) env() []string {
	env := []string{
		"HOME=" + c.Dir, "XDG_CONFIG_HOME=" + filepath.Join(c.Dir, "config"),
		"XDG_STATE_HOME=" + filepath.Join(c.Dir, "state"), "PATH=" + c.Bin + ":" + os.Getenv("PATH"),
	}
	for _, name := range []string{"TERM", "LANG", "TMPDIR", "GORACE"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// Command prepares a call of the CLI. When ctx ends it gets SIGTERM, and
// SIGKILL 2 s later.
func (c *Cluster) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.Bin, "waypoint"), args...)
	cmd.Env, cmd.Dir = c.env(), c.Dir
	if c.WorkDir != "" {
		cmd.Dir = c.WorkDir
	}
	c.enter(cmd, roleOf(args), 0)
	cmd.WaitDelay = 2 * time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is the caller's to handle
	return cmd
}

// CommandError is a call of the CLI that failed.
type CommandError struct {
	Args   []string
	Code   int    // exit code; -1 if it did not end by itself
	Stderr string // what it said
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("waypoint %s: exit code %d: %s", strings.Join(e.Args, " "), e.Code, e.Stderr)
}

// Run calls the CLI and returns its standard output. A failure is a
// *CommandError.
func (c *Cluster) Run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := c.Command(ctx, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		return string(out), nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return string(out), fmt.Errorf("waypoint %s: %w", strings.Join(args, " "), err)
	}
	return string(out), &CommandError{Args: args, Code: exit.ExitCode(), Stderr: strings.TrimSpace(stderr.String())}
}

// Query calls the CLI with -json and decodes its reply.
func (c *Cluster) Query(ctx context.Context, reply proto.Message, args ...string) error {
	text, err := c.Run(ctx, append(args, "-json")...)
	if err != nil {
		return err
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal([]byte(text), reply)
}

// members returns what "operator members" says.
func (c *Cluster) members(ctx context.Context) ([]*clusterpb.Member, error) {
	var reply clusterpb.MembersResponse
	err := c.Query(ctx, &reply, "operator", "members")
	return reply.GetMembers(), err
}

// Voters returns an error unless exactly n members vote and one of them leads.
func (c *Cluster) Voters(ctx context.Context, n int) error {
	members, err := c.members(ctx)
	if err != nil {
		return err
	}
	leader, voters := "", 0
	for _, m := range members {
		if m.GetSuffrage() == "voter" {
			voters++
		}
		if m.GetLeader() {
			leader = m.GetNode().GetName()
		}
	}
	if leader == "" || voters != n {
		return fmt.Errorf("%d of %d nodes vote, leader %q", voters, n, leader)
	}
	return nil
}

// Leader returns the node that leads now.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	members, err := c.members(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		for _, n := range c.Nodes {
			if m.GetLeader() && n.Name == m.GetNode().GetName() {
				return n, nil
			}
		}
	}
	return nil, errors.New("no node leads")
}

// Instances returns the attached instances of the project in WorkDir.
func (c *Cluster) Instances(ctx context.Context) ([]*deploymentpb.Instance, error) {
	var reply deploymentpb.ListInstancesResponse
	if err := c.Query(ctx, &reply, "instance", "list"); err != nil {
		return nil, err
	}
	var attached []*deploymentpb.Instance
	for _, i := range reply.GetInstances() {
		if i.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED {
			attached = append(attached, i)
		}
	}
	return attached, nil
}

// Close stops every node, with SIGTERM first, and returns an error if one did
// not end by that within ctx.
func (c *Cluster) Close(ctx context.Context) error {
	for _, n := range c.Nodes {
		n.signal(syscall.SIGTERM)
	}
	var errs []error
	for _, n := range c.Nodes {
		if err := n.wait(ctx); err != nil {
			errs = append(errs, err)
			n.signal(syscall.SIGKILL)
		}
	}
	return errors.Join(errs...)
}

// Until tries check each 100 ms, for at most limit, until it returns nil.
func Until(ctx context.Context, limit time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (waited up to %s)", err, limit)
		case <-tick.C:
		}
	}
}
