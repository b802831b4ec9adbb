package logs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/entrypointpb"
	"waypoint/api/logspb"
	"waypoint/errs"
	"waypoint/internal/wait"
	"waypoint/rpc/logs"
	"waypoint/rpc/rpctest"
	"waypoint/session"
	"waypoint/session/sessiontest"
)

const patience = 10 * time.Second

// cluster is two nodes over one state. Readers call the first one.
type cluster struct {
	f     *rpctest.Fixture
	a, b  *sessiontest.Node
	peers *sessiontest.Peers
}

func newCluster(t testing.TB, change func(*session.InstancesConfig)) *cluster {
	t.Helper()
	c := &cluster{f: rpctest.New(t), peers: &sessiontest.Peers{}}
	c.b = sessiontest.NewNode(t, c.f, change)
	c.a = sessiontest.NewNode(t, c.f, change, func(n *sessiontest.Node) rpctest.Service {
		return logs.New(logs.Config{
			Reader: c.f.Reader(), NodeID: n.ID, Local: n, Peer: c.peers.Peer, Logger: c.f.Logger,
			Hold: 20 * time.Millisecond, Heartbeat: 50 * time.Millisecond,
		})
	})
	c.peers.Connect(c.b, c.a.ID)
	return c
}

// attach attaches an instance and waits until its row is there.
func (c *cluster) attach(t testing.TB, n *sessiontest.Node, token string, hello *entrypointpb.Hello) *sessiontest.Entrypoint {
	t.Helper()
	e := sessiontest.Attach(t, n.Server.Dial(token), hello)
	e.Welcome()
	if e.Recv().GetConfig() == nil {
		t.Fatal("no config")
	}
	wait.For(t, patience, "instance to be recorded", func() bool {
		row := c.f.Store.Read().Instance(e.ID)
		return row.GetNodeId() == n.ID && row.GetGeneration() == hello.GetGeneration()
	})
	return e
}

// reader reads what a user sees, as words: "a:1" for a line, "a:gap5",
// "a:end".
type reader struct {
	t      testing.TB
	stream grpc.ServerStreamingClient[logspb.StreamResponse]
	name   map[string]string
	words  []string
	notice []string
	beats  int
}

func (c *cluster) read(t testing.TB, ctx context.Context, req *logspb.StreamRequest, names ...*sessiontest.Entrypoint) *reader {
	t.Helper()
	if req.GetApp() == nil {
		req.App = sessiontest.Ref()
	}
	stream, err := logspb.NewLogsClient(c.a.Server.Dial(c.f.User)).Stream(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, stream: stream, name: map[string]string{}}
	for i, e := range names {
		r.name[e.ID] = string(rune('a' + i))
	}
	return r
}

// next reads one message.
func (r *reader) next() error {
	response, err := r.stream.Recv()
	if err != nil {
		return errs.FromStatus(err)
	}
	if response.GetHeartbeat() {
		r.beats++
	}
	if response.GetNotice() != "" {
		r.notice = append(r.notice, response.GetNotice())
	}
	for _, b := range response.GetBatches() {
		name := r.name[b.GetInstanceId()]
		if name == "" {
			name = "new"
		}
		if b.GetGap() != nil {
			r.words = append(r.words, fmt.Sprintf("%s:gap%d", name, b.GetGap().GetLines()))
		}
		for _, l := range b.GetLines() {
			r.words = append(r.words, fmt.Sprintf("%s:%d", name, l.GetSeq()))
		}
		if b.GetEnded() {
			r.words = append(r.words, name+":end")
		}
	}
	return nil
}

// until reads until the words are exactly these.
func (r *reader) until(want string) {
	r.t.Helper()
	for strings.Join(r.words, " ") != want {
		if err := r.next(); err != nil {
			r.t.Fatalf("%v; got %q, want %q", err, strings.Join(r.words, " "), want)
		}
		if len(r.words) > len(strings.Fields(want)) {
			r.t.Fatalf("got %q, want %q", strings.Join(r.words, " "), want)
		}
	}
}

// all reads to the end.
func (r *reader) all() string {
	r.t.Helper()
	for {
		if err := r.next(); errors.Is(err, io.EOF) {
			return strings.Join(r.words, " ")
		} else if err != nil {
			r.t.Fatal(err)
		}
	}
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

func lines(e *sessiontest.Entrypoint, seqTime ...int64) {
	batch := &entrypointpb.LogBatch{}
	for i := 0; i < len(seqTime); i += 2 {
		batch.Lines = append(batch.Lines, &logspb.Line{Seq: uint64(seqTime[i]), Time: seqTime[i+1], Data: []byte("x")})
	}
	e.Send(&entrypointpb.Up{Kind: &entrypointpb.Up_Logs{Logs: batch}})
	e.Sync()
}

func TestLinesOfAllNodesAreMergedByTimeAndTheReadEnds(t *testing.T) {
	c := newCluster(t, nil)
	_, token := sessiontest.Deploy(c.f)
	here := c.attach(t, c.a, token, &entrypointpb.Hello{Generation: 1})
	there := c.attach(t, c.b, token, &entrypointpb.Hello{Generation: 1})
	lines(here, 1, 10, 2, 30, 3, 50)
	lines(there, 1, 20, 2, 40, 3, 60)

	if got := c.read(t, bounded(t), &logspb.StreamRequest{}, here, there).all(); got != "a:1 b:1 a:2 b:2 a:3 b:3" {
		t.Errorf("got %q", got)
	}
	if got := c.read(t, bounded(t), &logspb.StreamRequest{Tail: 1}, here, there).all(); got != "a:3 b:3" {
		t.Errorf("tail: got %q", got)
	}
	if got := c.read(t, bounded(t), &logspb.StreamRequest{InstanceId: there.ID, After: map[string]uint64{there.ID: 2}}, here, there).all(); got != "b:3" {
		t.Errorf("one instance after a line: got %q", got)
	}
	there.Goodbye(0)
	if got := c.read(t, bounded(t), &logspb.StreamRequest{InstanceId: there.ID, Follow: true}, here, there).all(); got != "b:1 b:2 b:3 b:end" {
		t.Errorf("ended instance: got %q", got)
	}
}

func TestFollowTakesInInstancesThatJoin(t *testing.T) {
	c := newCluster(t, nil)
	_, token := sessiontest.Deploy(c.f)
	r := c.read(t, bounded(t), &logspb.StreamRequest{Follow: true})
	if err := r.next(); err != nil || len(r.notice) != 1 || r.notice[0] != "no instance of web v1 is attached yet" {
		t.Fatalf("notice %q, %v", r.notice, err)
	}
	e := c.attach(t, c.b, token, &entrypointpb.Hello{Generation: 1})
	lines(e, 1, 10, 2, 20)
	r.until("new:1 new:2")
	lines(e, 3, 30)
	r.until("new:1 new:2 new:3")
}

func TestFollowGoesWithAnInstanceThatMoves(t *testing.T) {
	c := newCluster(t, nil)
	_, token := sessiontest.Deploy(c.f)
	old := c.attach(t, c.b, token, &entrypointpb.Hello{Generation: 1})
	lines(old, 1, 10, 2, 20)
	r := c.read(t, bounded(t), &logspb.StreamRequest{Follow: true}, old)
	r.until("a:1 a:2")
	moved := c.attach(t, c.a, token, &entrypointpb.Hello{InstanceId: old.ID, Generation: 2})
	lines(moved, 1, 10, 2, 20, 3, 30)
	r.until("a:1 a:2 a:3")
	lines(moved, 4, 40)
	r.until("a:1 a:2 a:3 a:4")
}

func TestLinesThatWentWithANodeAreAGap(t *testing.T) {
	c := newCluster(t, nil)
	_, token := sessiontest.Deploy(c.f)
	old := c.attach(t, c.b, token, &entrypointpb.Hello{Generation: 1})
	lines(old, 1, 10, 2, 20)
	r := c.read(t, bounded(t), &logspb.StreamRequest{Follow: true}, old)
	r.until("a:1 a:2")
	c.b.Stop()
	moved := c.attach(t, c.a, token, &entrypointpb.Hello{InstanceId: old.ID, Generation: 2})
	lines(moved, 6, 60, 7, 70)
	r.until("a:1 a:2 a:gap3 a:6 a:7")
}

func TestReadOfALostNodeEndsWithAGapOfUnknownSize(t *testing.T) {
	c := newCluster(t, nil)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.b, token, &entrypointpb.Hello{Generation: 1})
	c.b.Stop()
	if got := c.read(t, bounded(t), &logspb.StreamRequest{}, e).all(); got != "a:gap0" {
		t.Errorf("got %q", got)
	}
}

func TestReadWithoutQuorumShowsWhatTheNodeKnows(t *testing.T) {
	c := newCluster(t, nil)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.a, token, &entrypointpb.Hello{Generation: 1})
	lines(e, 1, 10)
	c.f.OnFresh(func(context.Context) error { return errs.New(errs.Unavailable, "no leader") })
	r := c.read(t, bounded(t), &logspb.StreamRequest{}, e)
	if got := r.all(); got != "a:1" || len(r.notice) != 1 {
		t.Errorf("got %q with notice %q", got, r.notice)
	}
	r = c.read(t, rpctest.WithStale(bounded(t)), &logspb.StreamRequest{}, e)
	if got := r.all(); got != "a:1" || len(r.notice) != 0 {
		t.Errorf("stale: got %q with notice %q", got, r.notice)
	}
}

func TestQuietStreamHasHeartbeats(t *testing.T) {
	c := newCluster(t, nil)
	_, token := sessiontest.Deploy(c.f)
	c.attach(t, c.a, token, &entrypointpb.Hello{Generation: 1})
	r := c.read(t, bounded(t), &logspb.StreamRequest{Follow: true})
	for r.beats < 3 {
		if err := r.next(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSlowReaderGetsGapsAndOthersAreNotHeldUp(t *testing.T) {
	c := newCluster(t, func(cfg *session.InstancesConfig) { cfg.RingBytes = 64 << 10 })
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(t, c.a, token, &entrypointpb.Hello{Generation: 1})
	slow := c.read(t, bounded(t), &logspb.StreamRequest{Follow: true}, e)
	lines(e, 1, 1)
	slow.until("a:1")
	const n = 40_000 // more than all windows and buffers together
	for seq := int64(2); seq <= n; seq += 100 {
		var batch []int64
		for s := seq; s < seq+100; s++ {
			batch = append(batch, s, s)
		}
		lines(e, batch...)
	}
	quick := c.read(t, bounded(t), &logspb.StreamRequest{Tail: 1}, e)
	if got := quick.all(); got != fmt.Sprintf("a:%d", n+1) {
		t.Errorf("quick reader got %q", got)
	}
	e.Goodbye(0)
	seen, lost := 0, 0
	for ended := false; !ended; {
		slow.words = nil
		if err := slow.next(); err != nil {
			t.Fatal(err)
		}
		for _, w := range slow.words {
			gap := 0
			switch _, err := fmt.Sscanf(w, "a:gap%d", &gap); {
			case err == nil:
				lost += gap
			case w == "a:end":
				ended = true
			default:
				seen++
			}
		}
	}
	if seen+1+lost != n+1 || lost == 0 {
		t.Errorf("%d seen and %d lost of %d", seen+1, lost, n+1)
	}
}

func TestWhatIsNotThereIsRefusedOrExplained(t *testing.T) {
	c := newCluster(t, nil)
	sessiontest.Deploy(c.f)
	for name, req := range map[string]*logspb.StreamRequest{
		"project":    {App: &deploymentpb.AppRef{Project: "nope"}},
		"app":        {App: &deploymentpb.AppRef{Project: "shop", App: "nope"}},
		"deployment": {DeploymentId: "nope"},
		"instance":   {InstanceId: "nope"},
	} {
		r := c.read(t, bounded(t), req)
		if err := r.next(); !errs.Is(err, errs.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.f.Do(&commandpb.Command_ProjectApply{ProjectApply: &commandpb.ProjectApply{Name: "bare", Apps: []string{"web"}}})
	r := c.read(t, bounded(t), &logspb.StreamRequest{App: &deploymentpb.AppRef{Project: "bare", App: "web"}})
	if got := r.all(); got != "" || len(r.notice) != 1 || r.notice[0] != "web has no deployment yet" {
		t.Errorf("got %q, notice %q", got, r.notice)
	}
}
