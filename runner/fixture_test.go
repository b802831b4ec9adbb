package runner_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/jobs"
	"waypoint/plugin"
	"waypoint/plugin/execbuild"
	"waypoint/plugin/noop"
	rpcconfig "waypoint/rpc/config"
	rpcdeployment "waypoint/rpc/deployment"
	rpcjob "waypoint/rpc/job"
	rpcnode "waypoint/rpc/node"
	rpcproject "waypoint/rpc/project"
	"waypoint/rpc/rpctest"
	rpcrunner "waypoint/rpc/runner"
	"waypoint/runner"
	"waypoint/session"
	"waypoint/state"
)

const patience = 20 * time.Second

// bench is a cluster of nodes over one state, with a leader's jobs task.
type bench struct {
	*rpctest.Fixture
	*testing.T
	lease   time.Duration
	jobs    *jobs.Jobs
	nodes   []*node
	dir     string      // of a project
	offline atomic.Bool // renewals fail
}

// node is one node: its runners and its server.
type node struct {
	id      string
	runners *session.Runners
	server  *rpctest.Server
	stop    func()
}

// leader applies commands as the leader of the fixture's term.
type leader struct{ *rpctest.Fixture }

func (l leader) Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error) {
	cmd.Term = 1
	return l.Fixture.Apply(ctx, cmd)
}

func newBench(t *testing.T, lease time.Duration, nodes int) *bench {
	t.Helper()
	b := &bench{Fixture: rpctest.New(t), T: t, lease: lease, dir: t.TempDir()}
	b.jobs = jobs.New(jobs.Config{Store: b.Store, Lease: lease, Margin: lease * 2 / 15, PruneEvery: time.Hour})
	b.background(func(ctx context.Context) { _ = b.jobs.Run(ctx, leader{b.Fixture}) })
	for range nodes {
		b.addNode()
	}
	return b
}

// background runs fn until the returned function, or the test's end, stops it.
func (b *bench) background(fn func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { fn(ctx) })
	stop = func() { cancel(); wg.Wait() }
	b.Cleanup(stop)
	return stop
}

func (b *bench) addNode() {
	n := &node{id: b.NodeID}
	if len(b.nodes) > 0 {
		n.id = ids.New()
		b.nodes[0].server.DialNode(n.id) // which makes it a member
	}
	n.runners = session.NewRunners(session.RunnersConfig{
		NodeID: n.id, BootID: b.BootID, Store: b.Store, Applier: b.Fixture, Lease: b.lease,
		RenewLeases: func(ctx context.Context, renewals []*nodepb.Renewal) ([]bool, error) {
			if b.offline.Load() {
				return nil, errors.New("no leader")
			}
			return b.jobs.Renew(ctx, renewals), nil
		},
		Servers: b.Servers, OtherServers: b.Servers, Logger: b.Logger,
	})
	reader := b.Reader()
	n.server = b.Serve(
		rpcproject.New(rpcproject.Config{Reader: reader, Applier: b}),
		rpcconfig.New(rpcconfig.Config{Reader: reader, Applier: b, Sealer: b.Keyring}),
		rpcdeployment.New(rpcdeployment.Config{Reader: reader, Applier: b, TokenKey: b.TokenKey, Servers: b.Servers, CA: b.CAFingerprint()}),
		rpcjob.New(rpcjob.Config{Applier: b, Reader: reader, Store: b.Store, NodeID: n.id, Outputs: n.runners, Peer: b.peer, Waiting: jobs.Waiting}),
		rpcrunner.New(rpcrunner.Config{Reader: reader, Sessions: n.runners}),
		rpcnode.New(rpcnode.Config{Outputs: n.runners}),
	)
	// The registry outlives the server's streams only if it is stopped first.
	n.stop = b.background(func(ctx context.Context) { _ = n.runners.Run(ctx) })
	b.nodes = append(b.nodes, n)
}

func (b *bench) peer(id string) (grpc.ClientConnInterface, error) {
	for _, n := range b.nodes {
		if n.id == id {
			return n.server.DialNode(b.nodes[0].id), nil
		}
	}
	return nil, errs.New(errs.Unavailable, "no node %s", id)
}

// cluster is a runner's connection: to one node, until it is moved.
type cluster struct {
	mu      sync.Mutex
	conns   []grpc.ClientConnInterface
	at      int
	avoided int
}

func (c *cluster) now() grpc.ClientConnInterface {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conns[c.at]
}

func (c *cluster) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return errs.FromStatus(c.now().Invoke(ctx, method, args, reply, opts...))
}

func (c *cluster) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.now().NewStream(ctx, desc, method, opts...)
}

func (c *cluster) Conn() grpc.ClientConnInterface { return c }
func (c *cluster) LearnServers([]string)          {}
func (c *cluster) Current() string                { return "" }
func (c *cluster) Prefer([]string)                {}
func (c *cluster) Rebalance() <-chan struct{}     { return nil }

// Avoid moves to the next node.
func (c *cluster) Avoid(string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.avoided++
	c.at = (c.at + 1) % len(c.conns)
}

func (b *bench) connect(token string) *cluster {
	c := &cluster{}
	for _, n := range b.nodes {
		c.conns = append(c.conns, n.server.Dial(token))
	}
	return c
}

// start starts a remote runner and waits until it is attached.
func (b *bench) start(change func(*runner.Config)) (r *runner.Runner, stop func()) {
	b.Helper()
	_, token := b.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "runner")
	config := runner.Config{Client: b.connect(token), Name: "r", Host: "here", Slots: 1, Plugins: noopTable(), Logger: b.Logger}
	if change != nil {
		change(&config)
	}
	r = runner.New(config)
	stop = b.background(func(ctx context.Context) { _ = r.Run(ctx) })
	select {
	case <-r.Attached():
	case <-time.After(patience):
		b.Fatal("the runner is not attached")
	}
	return r, stop
}

func noopTable() *plugin.Table {
	return &plugin.Table{
		Builders:   map[string]plugin.Builder{"exec": execbuild.Builder{}, "noop": noop.Noop{}},
		Registries: map[string]plugin.Registry{"noop": noop.Noop{}},
		Platforms:  map[string]plugin.Platform{"noop": noop.Noop{}},
		Releasers:  map[string]plugin.Releaser{"noop": noop.Noop{}},
	}
}

// builder is a builder that does as a test says.
type builder func(context.Context, *plugin.BuildRequest) error

func (f builder) Build(ctx context.Context, req *plugin.BuildRequest) (*plugin.Artifact, error) {
	return &plugin.Artifact{Description: "made"}, f(ctx, req)
}

func withBuilder(f builder) func(*runner.Config) {
	return func(c *runner.Config) { c.Plugins.Builders["test"] = f }
}

// project writes a project file with an app "web" and registers both.
func (b *bench) project(app string) {
	b.Helper()
	text := "project = \"shop\"\napp \"web\" {\n" + app + "\n}\n"
	if err := os.WriteFile(filepath.Join(b.dir, "waypoint.hcl"), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	b.Do(&commandpb.Command_ProjectApply{ProjectApply: &commandpb.ProjectApply{Name: "shop", Apps: []string{"web"}}})
}

func (b *bench) client(i int) jobpb.JobServiceClient {
	return jobpb.NewJobServiceClient(b.nodes[i].server.Dial(b.User))
}

func (b *bench) spec(op jobpb.Operation) *jobpb.Spec {
	return &jobpb.Spec{Operation: op, Project: "shop", App: "web", Workspace: "default", Folder: b.dir}
}

func (b *bench) submit(spec *jobpb.Spec) string {
	b.Helper()
	answer, err := b.client(0).Submit(context.Background(), &jobpb.SubmitRequest{Spec: spec})
	if err != nil {
		b.Fatal(err)
	}
	return answer.GetJob().GetId()
}

func (b *bench) job(id string) *jobpb.Job { return b.Store.Read().Job(id) }

// ended waits for the end of a job.
func (b *bench) ended(id string, want jobpb.State) *jobpb.Job {
	b.Helper()
	wait.For(b.T, patience, "the job to end", func() bool { return b.job(id).GetEndedAt() != nil })
	job := b.job(id)
	if job.GetState() != want {
		b.Fatalf("job is %s: %s", job.GetState(), job.GetError())
	}
	return job
}

// watched is what a watch of a job has shown.
type watched struct {
	text string
	last *jobpb.Job
	err  error
}

// watch follows a job on a node to its end.
func (b *bench) watch(i int, id string, output func(string)) watched {
	var w watched
	stream, err := b.client(i).Watch(context.Background(), &jobpb.WatchRequest{Id: id})
	if err != nil {
		return watched{err: err}
	}
	for {
		answer, err := stream.Recv()
		if err != nil {
			w.err = err
			return w
		}
		if job := answer.GetJob(); job != nil {
			w.last = job
		}
		if len(answer.GetOutput()) > 0 {
			w.text += string(answer.GetOutput())
			if output != nil {
				output(w.text)
			}
		}
	}
}

func (b *bench) deployments() []*deploymentpb.Deployment {
	return b.Store.Read().Deployments(&deploymentpb.AppRef{Project: "shop"}, false, 0)
}

func stateQueued() state.JobFilter {
	return state.JobFilter{States: []jobpb.State{jobpb.State_STATE_QUEUED}}
}
