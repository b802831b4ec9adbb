package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/agent"
	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/api/jobpb"
	"waypoint/api/logspb"
	"waypoint/api/projectpb"
	"waypoint/api/runnerpb"
	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/runner"
)

// fakeCluster answers calls with what a test has put in: by full method name,
// without the leading slash.
type fakeCluster struct {
	t       *testing.T
	answers map[string]func(ctx context.Context, request proto.Message) (proto.Message, error)
	streams map[string]func(stream grpc.ServerStream) error
	conn    *grpc.ClientConn

	mu    sync.Mutex
	calls []string
	seen  []proto.Message
}

func newFakeCluster(t *testing.T) *fakeCluster {
	t.Helper()
	f := &fakeCluster{
		t:       t,
		answers: map[string]func(context.Context, proto.Message) (proto.Message, error){},
		streams: map[string]func(grpc.ServerStream) error{},
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(f.unary), grpc.StreamInterceptor(f.stream))
	authpb.RegisterAuthServer(server, authpb.UnimplementedAuthServer{})
	clusterpb.RegisterClusterServer(server, clusterpb.UnimplementedClusterServer{})
	configpb.RegisterConfigServer(server, configpb.UnimplementedConfigServer{})
	deploymentpb.RegisterDeploymentServiceServer(server, deploymentpb.UnimplementedDeploymentServiceServer{})
	execpb.RegisterExecServer(server, execpb.UnimplementedExecServer{})
	jobpb.RegisterJobServiceServer(server, jobpb.UnimplementedJobServiceServer{})
	logspb.RegisterLogsServer(server, logspb.UnimplementedLogsServer{})
	projectpb.RegisterProjectServiceServer(server, projectpb.UnimplementedProjectServiceServer{})
	runnerpb.RegisterRunnerServiceServer(server, runnerpb.UnimplementedRunnerServiceServer{})
	versionpb.RegisterVersionServer(server, versionpb.UnimplementedVersionServer{})
	listener := bufconn.Listen(1 << 16)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	conn, err := grpc.NewClient("passthrough:///fake",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	f.conn = conn
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
		<-served
	})
	return f
}

// answer gives every call of a method the same reply.
func (f *fakeCluster) answer(method string, reply proto.Message) {
	f.answers[method] = func(context.Context, proto.Message) (proto.Message, error) { return reply, nil }
}

// refuse gives every call of a method the same error.
func (f *fakeCluster) refuse(method string, kind errs.Kind, text string) {
	f.answers[method] = func(context.Context, proto.Message) (proto.Message, error) { return nil, errs.New(kind, "%s", text) }
}

func (f *fakeCluster) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	method := strings.TrimPrefix(info.FullMethod, "/")
	f.mu.Lock()
	f.calls = append(f.calls, method)
	f.seen = append(f.seen, proto.Clone(request.(proto.Message)))
	f.mu.Unlock()
	answer, ok := f.answers[method]
	if !ok {
		return handler(ctx, request)
	}
	reply, err := answer(ctx, request.(proto.Message))
	if err != nil {
		return nil, errs.ToStatus(err)
	}
	return reply, nil
}

func (f *fakeCluster) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	serve, ok := f.streams[strings.TrimPrefix(info.FullMethod, "/")]
	if !ok {
		return handler(server, stream)
	}
	if err := serve(stream); err != nil {
		return errs.ToStatus(err)
	}
	return nil
}

// request is the newest request of a method.
func (f *fakeCluster) request(method string) proto.Message {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.calls) - 1; i >= 0; i-- {
		if f.calls[i] == method {
			return f.seen[i]
		}
	}
	f.t.Fatalf("%s was not called; calls: %v", method, f.calls)
	return nil
}

func (f *fakeCluster) called(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, call := range f.calls {
		if call == method {
			n++
		}
	}
	return n
}

// fakeConn is a connection to the fake cluster whose errors are typed, as
// those of package client are.
type fakeConn struct{ f *fakeCluster }

func (c fakeConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return errs.FromStatus(c.f.conn.Invoke(ctx, method, args, reply, opts...))
}

func (c fakeConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.f.conn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, errs.FromStatus(err)
	}
	return typedStream{stream}, nil
}

func (c fakeConn) Current() string { return "10.0.0.1:9701" }
func (c fakeConn) Avoid(string)    {}
func (c fakeConn) Close() error    { return nil }

type typedStream struct{ grpc.ClientStream }

func (s typedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return errs.FromStatus(err)
}

func (s typedStream) Header() (metadata.MD, error) { return s.ClientStream.Header() }

// fakeTerminal says which streams are terminals.
type fakeTerminal struct {
	of            map[any]bool
	secret        string
	rows, columns int

	mu  sync.Mutex
	raw int // how often raw mode was entered less how often it was left
}

func (f *fakeTerminal) Is(stream any) bool { return f.of[stream] }

func (f *fakeTerminal) Size(stream any) (int, int, error) {
	if !f.of[stream] {
		return 0, 0, errNoTerminal
	}
	return f.rows, f.columns, nil
}

func (f *fakeTerminal) Raw(any) (func(), error) {
	f.add(1)
	return func() { f.add(-1) }, nil
}

func (f *fakeTerminal) ReadSecret(any) (string, error) { return f.secret, nil }

func (f *fakeTerminal) add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.raw += n
}

// syncBuffer may be read while a command writes to it.
type syncBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	wrote chan struct{} // hears of each write, if it is set
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.b.Write(p)
	if b.wrote != nil {
		b.wrote <- struct{}{}
	}
	return n, err
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// world is an Env for a test, with everything in it that the test looks at.
type world struct {
	*Env
	t        *testing.T
	cluster  *fakeCluster
	terminal *fakeTerminal
	out, err *syncBuffer
	signals  chan os.Signal
	exited   chan int
	targets  []Target
}

// someTime is when tests happen.
var someTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(someTime.Add(-d)) }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, cluster: newFakeCluster(t), terminal: &fakeTerminal{of: map[any]bool{}, rows: 40, columns: 100},
		out: &syncBuffer{}, err: &syncBuffer{}, signals: make(chan os.Signal), exited: make(chan int, 8),
	}
	w.Env = &Env{
		Stdin:    strings.NewReader(""),
		Stdout:   w.out,
		Stderr:   w.err,
		Terminal: w.terminal,
		Environ: []string{"XDG_CONFIG_HOME=" + t.TempDir(), "WAYPOINT_SERVER_ADDR=10.0.0.1:9701",
			"WAYPOINT_SERVER_CA=sha256:00", "WAYPOINT_SERVER_TOKEN=wp1_test"},
		Dir:     t.TempDir(),
		Now:     func() time.Time { return someTime },
		Host:    "here",
		Signals: func(...os.Signal) (<-chan os.Signal, func()) { return w.signals, func() {} },
		Exit:    func(code int) { w.exited <- code },
		Dial: func(target Target) (Conn, error) {
			w.targets = append(w.targets, target)
			return fakeConn{w.cluster}, nil
		},
		DialAsNode: func(string) (Conn, error) { return fakeConn{w.cluster}, nil },
	}
	return w
}

// run runs a command line and returns its exit code and what it has printed.
func (w *world) run(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	w.out.b.Reset()
	w.err.b.Reset()
	code = Main(w.t.Context(), w.Env, args)
	return code, w.out.String(), w.err.String()
}

// prints runs a command line that must succeed and print exactly this.
func (w *world) prints(want string, args ...string) {
	w.t.Helper()
	code, stdout, stderr := w.run(args...)
	if code != 0 {
		w.t.Fatalf("waypoint %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	if want = strings.TrimPrefix(want, "\n"); stdout != want {
		w.t.Errorf("waypoint %s printed:\n%s\nwant:\n%s", strings.Join(args, " "), stdout, want)
	}
}

// fails runs a command line that must fail with this code and words.
func (w *world) fails(code int, says string, args ...string) {
	w.t.Helper()
	got, stdout, stderr := w.run(args...)
	if got != code || !strings.HasPrefix(stderr, "Error: ") || !strings.Contains(stderr, says) {
		w.t.Errorf("waypoint %s: exit code %d, want %d and %q\n%s%s", strings.Join(args, " "), got, code, says, stdout, stderr)
	}
}

// project puts a project file with these apps into the current folder.
func (w *world) project(name string, apps ...string) {
	w.t.Helper()
	text := "project = \"" + name + "\"\n"
	for _, app := range apps {
		text += "app \"" + app + "\" {\n  deploy {\n    use \"noop\" {}\n  }\n}\n"
	}
	w.file("waypoint.hcl", text)
}

func (w *world) file(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// fakeRunner is attached as soon as it runs.
type fakeRunner struct {
	attached chan struct{}
	ended    chan struct{}
	err      error // ends it at once
}

func newFakeRunner() *fakeRunner {
	return &fakeRunner{attached: make(chan struct{}), ended: make(chan struct{})}
}

func (r *fakeRunner) Run(ctx context.Context) error {
	defer close(r.ended)
	if r.err != nil {
		return r.err
	}
	close(r.attached)
	<-ctx.Done()
	return ctx.Err()
}

func (r *fakeRunner) ID() string                { return "RUNNER" }
func (r *fakeRunner) Attached() <-chan struct{} { return r.attached }

// with makes the world's commands use this runner; the configuration they
// gave it is kept.
func (r *fakeRunner) with(w *world) *runner.Config {
	got := &runner.Config{}
	w.NewRunner = func(_ Target, cfg runner.Config) (Runner, error) {
		*got = cfg
		r.attached, r.ended = make(chan struct{}), make(chan struct{})
		return r, nil
	}
	return got
}

// fakeNode is ready as soon as it runs.
type fakeNode struct {
	ready chan struct{}
	info  agent.Info
}

func (n *fakeNode) Run(ctx context.Context) error {
	close(n.ready)
	<-ctx.Done()
	return ctx.Err()
}

func (n *fakeNode) Ready() <-chan struct{} { return n.ready }
func (n *fakeNode) Info() agent.Info       { return n.info }

// stuckNode does not end before the process would.
type stuckNode struct {
	*fakeNode
	until <-chan int
}

func (n *stuckNode) Run(ctx context.Context) error {
	err := n.fakeNode.Run(ctx)
	<-n.until
	return err
}
