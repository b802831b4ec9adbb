package cluster

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waypoint/api/authpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/client"
	clientexec "waypoint/client/exec"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
)

// buildBinary builds a command of this module and returns the file's path.
func buildBinary(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	build := exec.Command("go", "build", "-tags=hashicorpmetrics,grpcnotrace", "-ldflags=-s -w", "-o", path, "../../cmd/"+name)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// runEntrypoint runs the real entrypoint until the test ends.
func runEntrypoint(t *testing.T, binary string, addrs []string, ca, token string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary, "sleep", "6000")
	cmd.Env = append(os.Environ(), "WAYPOINT_SERVER_ADDR="+strings.Join(addrs, ","), "WAYPOINT_SERVER_CA="+ca,
		"WAYPOINT_ENTRYPOINT_TOKEN="+token, "WAYPOINT_ENTRYPOINT_GRACE=1s")
	writer := newTestWriter(t)
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		_ = cmd.Wait()
	})
	return cmd
}

// homeOf waits until the only instance is attached to a node that is good, and
// returns both.
func homeOf(t *testing.T, c *client.Client, good func(nodeID string) bool) (instance, nodeID string) {
	t.Helper()
	wait.For(t, time.Minute, "an attached instance", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		reply, err := deploymentpb.NewDeploymentServiceClient(c.Conn()).ListInstances(client.WithStale(ctx), &deploymentpb.ListInstancesRequest{})
		if err != nil || len(reply.GetInstances()) != 1 {
			return false
		}
		row := reply.GetInstances()[0]
		instance, nodeID = row.GetId(), row.GetNodeId()
		return row.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED && good(nodeID)
	})
	return instance, nodeID
}

// conversation is a session whose command sends back what it is sent.
type conversation struct {
	t      *testing.T
	id     string
	to     *io.PipeWriter
	result chan error
	code   int

	mu      sync.Mutex
	sent    bytes.Buffer
	got     bytes.Buffer
	changed chan struct{} // closed when got has grown
}

// converse opens a session in an instance.
func converse(t *testing.T, c *client.Client, instance string) *conversation {
	t.Helper()
	from, to := io.Pipe()
	v := &conversation{t: t, id: ids.New(), to: to, result: make(chan error, 1), changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		open := &execpb.Open{SessionId: v.id, InstanceId: instance, Argv: []string{"cat"}, Stdin: true}
		code, err := clientexec.Run(ctx, execpb.NewExecClient(c.Conn()), clientexec.Config{Open: open, Stdin: from, Stdout: v})
		v.code = code
		v.result <- err
		from.CloseWithError(io.ErrClosedPipe)
	}()
	v.exchange(10)
	return v
}

// Write takes output of the command.
func (v *conversation) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.got.Write(p)
	close(v.changed)
	v.changed = make(chan struct{})
	return len(p), nil
}

// exchange sends pieces and waits until each has come back.
func (v *conversation) exchange(pieces int) {
	v.t.Helper()
	for range pieces {
		data := make([]byte, 1+rand.IntN(50_000))
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		v.mu.Lock()
		v.sent.Write(data)
		v.mu.Unlock()
		if _, err := v.to.Write(data); err != nil {
			v.t.Fatalf("send: %v: the session has ended: %v", err, <-v.result)
		}
		v.await()
	}
}

// await waits until everything has come back.
func (v *conversation) await() {
	v.t.Helper()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for {
		v.mu.Lock()
		missing, changed := v.sent.Len()-v.got.Len(), v.changed
		v.mu.Unlock()
		if missing <= 0 {
			return
		}
		select {
		case <-changed:
		case err := <-v.result:
			v.t.Fatalf("%d bytes are missing: the session has ended: %v", missing, err)
		case <-late.C:
			v.t.Fatalf("%d bytes are missing after 30 s", missing)
		}
	}
}

// during exchanges pieces while something happens, and a few after that.
func (v *conversation) during(fn func()) {
	v.t.Helper()
	over := make(chan struct{})
	go func() {
		defer close(over)
		fn()
	}()
	for happening := true; happening; {
		v.exchange(1)
		select {
		case <-over:
			happening = false
		default:
		}
	}
	v.exchange(10)
}

// end ends the command by the end of its input and looks at what it sent back.
func (v *conversation) end() {
	v.t.Helper()
	v.to.Close()
	select {
	case err := <-v.result:
		if err != nil || v.code != 0 {
			v.t.Errorf("the session ended with %d, %v", v.code, err)
		}
	case <-time.After(30 * time.Second):
		v.t.Fatal("the session does not end")
	}
	if !bytes.Equal(v.sent.Bytes(), v.got.Bytes()) {
		v.t.Errorf("%d bytes were sent and %d others came back", v.sent.Len(), v.got.Len())
	}
}

// recorded waits until the record of a session is as it should be.
func recorded(t *testing.T, c *client.Client, id, what string, good func(*execpb.Session) bool) {
	t.Helper()
	// A node that was killed is taken for lost after half a minute or more.
	wait.For(t, 3*time.Minute, what, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		reply, err := execpb.NewExecClient(c.Conn()).ListSessions(ctx, &execpb.ListSessionsRequest{})
		if err != nil {
			return false
		}
		i := slices.IndexFunc(reply.GetSessions(), func(s *execpb.Session) bool { return s.GetId() == id })
		return i >= 0 && good(reply.GetSessions()[i])
	})
}

// instanceGroup is three agents with an instance on one of them.
type instanceGroup struct {
	*group
	entrypoint *exec.Cmd
}

func startInstanceGroup(t *testing.T) *instanceGroup {
	t.Helper()
	g := &instanceGroup{group: startGroup(t, 3)}
	binary := buildBinary(t, t.TempDir(), "waypoint-entrypoint")
	g.entrypoint = runEntrypoint(t, binary, g.addrs(), g.ca, g.entrypointToken("shop"))
	return g
}

// addrs lists the addresses of all members, those named first.
func (g *group) addrs(first ...int) []string {
	var list []string
	for _, i := range append(first, 0, 1, 2) {
		if addr := g.members[i].Info().Addr; !slices.Contains(list, addr) {
			list = append(list, addr)
		}
	}
	return list
}

func (g *group) index(nodeID string) int {
	return slices.IndexFunc(g.members, func(m *member) bool { return m.Info().NodeID == nodeID })
}

// home returns the instance and the number of its home.
func (g *instanceGroup) home() (instance string, home int) {
	g.t.Helper()
	instance, nodeID := homeOf(g.t, g.dialAddrs(g.addrs(), g.token), func(string) bool { return true })
	return instance, g.index(nodeID)
}

func TestExecSessionSurvivesTheLeaveOfItsHome(t *testing.T) {
	t.Parallel()
	g := startInstanceGroup(t)
	instance, home := g.home()
	c := g.dialAddrs(g.addrs((home+1)%3), g.token)
	v := converse(t, c, instance)
	other := converse(t, c, instance)
	recorded(t, c, v.id, "the session to be recorded", func(s *execpb.Session) bool { return s.GetEndedAt() == nil && s.GetArgv()[0] == "cat" })
	v.during(g.members[home].stop)
	other.exchange(10)
	recorded(t, c, v.id, "the session to go on in its record", func(s *execpb.Session) bool {
		return s.GetEndedAt() == nil && s.GetNodeId() != g.members[home].Info().NodeID
	})
	v.end()
	other.end()
	for _, id := range []string{v.id, other.id} {
		recorded(t, c, id, "the end to be recorded", func(s *execpb.Session) bool { return s.GetExit() != nil && s.GetError() == "" })
	}
}

func TestExecSessionSurvivesTheLeaveOfTheNodeItIsAskedThrough(t *testing.T) {
	t.Parallel()
	g := startInstanceGroup(t)
	instance, home := g.home()
	front := (home + 1) % 3
	v := converse(t, g.dialAddrs(g.addrs(front), g.token), instance)
	v.during(g.members[front].stop)
	v.end()
}

func TestExecWithoutAQuorumIsRecordedLater(t *testing.T) {
	t.Parallel()
	g := startInstanceGroup(t)
	instance, home := g.home()
	c := g.dial(home, g.token)
	for i, m := range g.members {
		if i != home {
			m.stop()
		}
	}
	v := converse(t, c, instance)
	v.end()
	ctx := client.WithStale(g.context(10 * time.Second))
	if reply, err := execpb.NewExecClient(c.Conn()).ListSessions(ctx, &execpb.ListSessionsRequest{}); err != nil || len(reply.GetSessions()) != 0 {
		t.Errorf("recorded without a quorum: %v, %v", reply, err)
	}
	g.restart((home + 1) % 3)
	recorded(t, c, v.id, "the session to be recorded", func(s *execpb.Session) bool { return s.GetExit() != nil && s.GetError() == "" })
}

func TestManyExecSessionsAtATimeLoseNothing(t *testing.T) {
	t.Parallel()
	g := startInstanceGroup(t)
	instance, _ := g.home()
	c := g.dialAddrs(g.addrs(), g.token)
	var sessions sync.WaitGroup
	for i := range 32 {
		sessions.Go(func() {
			bytes := 4 << 20
			if i == 0 {
				bytes = 64 << 20
			}
			open := &execpb.Open{InstanceId: instance, Argv: []string{"head", "-c", strconv.Itoa(bytes), "/dev/zero"}}
			size := counter(0)
			code, err := clientexec.Run(t.Context(), execpb.NewExecClient(c.Conn()), clientexec.Config{Open: open, Stdout: &size})
			if code != 0 || err != nil || int(size) != bytes {
				t.Errorf("a session ended with %d, %v after %d bytes", code, err, size)
			}
		})
	}
	sessions.Wait()
}

// counter counts what is written to it.
type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

func TestOnlyTheTokenThatOpenedASessionResumesIt(t *testing.T) {
	t.Parallel()
	g := startInstanceGroup(t)
	instance, _ := g.home()
	v := converse(t, g.dialAddrs(g.addrs(), g.token), instance)
	other, _ := g.newToken(authpb.TokenKind_TOKEN_KIND_USER)
	stream, err := execpb.NewExecClient(g.dialAddrs(g.addrs(), other).Conn()).Start(g.context(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	open := &execpb.Open{SessionId: v.id, InstanceId: instance, Argv: []string{"cat"}, Resumable: true, Resume: &execpb.Resume{}}
	if err := stream.Send(&execpb.Input{Kind: &execpb.Input_Open{Open: open}}); err != nil {
		t.Fatal(err)
	}
	if out, err := stream.Recv(); !errs.Is(err, errs.PermissionDenied) && out.GetRefused().GetKind() != errs.PermissionDenied {
		t.Errorf("another token gets %v, %v", out, err)
	}
	v.exchange(3)
	v.end()
}
