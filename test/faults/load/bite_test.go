package load

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/api/configpb"
	"waypoint/client"
	"waypoint/internal/ids"
	"waypoint/test/faults/check"
	"waypoint/test/harness"
)

// The tests whose names begin with TestCheckerFinds build a product that is
// broken in one place, drive it into the situation in which that matters, and want
// the checker to find it. The product as it is must come through the same.

func TestCheckerFindsRequestsThatAreDoneTwice(t *testing.T) {
	bite(t, "break_dedupe", 1, "was done more than once", repeatedRequest)
}

// startNodes runs some nodes of the binaries in a folder for the time of the test.
func startNodes(t *testing.T, bin string, nodes int) *harness.Cluster {
	t.Helper()
	c := harness.New(bin, t.TempDir())
	c.AnyPort = true
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, n := range c.Nodes {
			n.Signal(syscall.SIGCONT) // what a test has stopped and not continued
		}
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, n := range c.Nodes {
				t.Logf("the last lines of %s:\n%s", n.Name, n.LastLog(40))
			}
		}
	})
	if err := c.Start(t.Context(), nodes); err != nil {
		t.Fatal(err)
	}
	return c
}

// bite runs a situation with a broken product and with a whole one.
func bite(t *testing.T, tag string, nodes int, says string, situation func(*testing.T, *harness.Cluster) *check.Verdict) {
	for _, broken := range []string{"", tag} {
		name := "whole"
		if broken != "" {
			name = broken
		}
		t.Run(name, func(t *testing.T) {
			v := situation(t, startNodes(t, buildWith(t, broken), nodes))
			t.Logf("%s", v)
			switch err := v.Err(); {
			case broken == "" && err != nil:
				t.Errorf("a product that is not broken: %v", err)
			case broken != "" && (err == nil || !strings.Contains(v.String(), says)):
				t.Errorf("the checker does not find that %q", says)
			}
		})
	}
}

// buildWith builds the server with a tag and returns the folder of the binary.
func buildWith(t *testing.T, tag string) string {
	t.Helper()
	dir := t.TempDir()
	var tags []string
	if tag != "" {
		tags = []string{tag}
	}
	if err := harness.BuildServer(dir, tags...); err != nil {
		t.Fatal(err)
	}
	return dir
}

// repeatedRequest lets a client repeat a write under its request id after
// another client has written, as one does whose first answer was lost.
func repeatedRequest(t *testing.T, c *harness.Cluster) *check.Verdict {
	ctx := t.Context()
	b := newBench(t, c)
	first, second := b.client(0), b.client(0)
	again := client.WithRequestID(ctx, ids.New())
	slow := b.begin(0, check.Write, "a")
	b.set(again, first, &slow)
	b.get(ctx, 1, second)
	other := b.begin(1, check.Write, "b")
	b.set(ctx, second, &other)
	b.done(other)
	b.get(ctx, 1, second)
	b.set(again, first, &slow)
	b.done(slow)
	b.get(ctx, 1, second)
	return check.Registers(b.history.all(), checkLimit)
}

// bench does single operations on one register and keeps their history.
type bench struct {
	t       *testing.T
	cluster *harness.Cluster
	history *recorder[check.Op]
}

func newBench(t *testing.T, c *harness.Cluster) *bench {
	t.Helper()
	if err := makeProject(t.Context(), c, registerProject); err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, cluster: c, history: newRecorder[check.Op]()}
}

// client returns a client that is connected to a node.
func (b *bench) client(node int) *client.Client {
	b.t.Helper()
	conn, err := b.cluster.Dial(node)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (b *bench) begin(number int, kind, value string) check.Op {
	return check.Op{Client: number, Kind: kind, Key: "K", Value: value, Call: b.history.now()}
}

func (b *bench) set(ctx context.Context, conn *client.Client, o *check.Op) {
	_, err := configpb.NewConfigClient(conn.Conn()).Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{
		{Scope: &configpb.Scope{Project: registerProject}, Name: o.Key, Value: o.Value},
	}})
	o.Outcome, o.Error = outcome(err), text(err)
}

func (b *bench) done(o check.Op) {
	o.Return = b.history.now()
	b.history.add(o)
}

func (b *bench) get(ctx context.Context, number int, conn *client.Client) {
	o := b.begin(number, check.Read, "")
	reply, err := configpb.NewConfigClient(conn.Conn()).Get(ctx, &configpb.GetRequest{
		Scope: &configpb.Scope{Project: registerProject}, Name: o.Key, Exact: true,
	})
	o.Outcome, o.Error = outcome(err), text(err)
	if v := reply.GetVariables(); len(v) > 0 {
		o.Value, o.Version = v[0].GetValue(), v[0].GetVersion()
	}
	b.done(o)
}
