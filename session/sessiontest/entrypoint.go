package sessiontest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"

	"waypoint/api/entrypointpb"
	"waypoint/api/execpb"
	"waypoint/api/logspb"
	"waypoint/errs"
	"waypoint/internal/ids"
)

// Entrypoint is one attach of an instance, by hand.
type Entrypoint struct {
	ID     string
	Client entrypointpb.EntrypointClient
	Stream entrypointpb.Entrypoint_AttachClient

	t      testing.TB
	cancel context.CancelFunc
}

// Attach attaches an instance and returns without waiting for the welcome. What
// hello lacks is filled in.
func Attach(t testing.TB, conn grpc.ClientConnInterface, hello *entrypointpb.Hello) *Entrypoint {
	t.Helper()
	if hello.GetInstanceId() == "" {
		hello.InstanceId = ids.New()
	}
	if hello.GetGeneration() == 0 {
		hello.Generation = 1
	}
	e := &Entrypoint{ID: hello.GetInstanceId(), Client: entrypointpb.NewEntrypointClient(conn), t: t}
	var ctx context.Context
	ctx, e.cancel = context.WithCancel(t.Context())
	t.Cleanup(e.cancel)
	var err error
	if e.Stream, err = e.Client.Attach(ctx); err != nil {
		t.Fatalf("attach: %v", err)
	}
	e.Send(&entrypointpb.Up{Kind: &entrypointpb.Up_Hello{Hello: hello}})
	return e
}

// Send sends a message up.
func (e *Entrypoint) Send(up *entrypointpb.Up) {
	e.t.Helper()
	if err := e.Stream.Send(up); err != nil {
		e.t.Fatalf("send %T: %v", up.GetKind(), err)
	}
}

// Recv returns the next message, for which it waits 10 s.
func (e *Entrypoint) Recv() *entrypointpb.Down {
	e.t.Helper()
	down, err := e.recv()
	if err != nil {
		e.t.Fatalf("receive: %v", err)
	}
	return down
}

// Broken returns the error that ends the stream, nil for an orderly end.
func (e *Entrypoint) Broken() error {
	e.t.Helper()
	for {
		if _, err := e.recv(); err != nil {
			return errs.FromStatus(err)
		}
	}
}

func (e *Entrypoint) recv() (*entrypointpb.Down, error) {
	stuck := time.AfterFunc(10*time.Second, e.cancel)
	defer stuck.Stop()
	return e.Stream.Recv()
}

// Welcome returns the welcome, which must be the next message.
func (e *Entrypoint) Welcome() *entrypointpb.Welcome {
	e.t.Helper()
	down := e.Recv()
	if down.GetWelcome() == nil {
		e.t.Fatalf("got %v, want welcome", down)
	}
	return down.GetWelcome()
}

// Config returns the next configuration as a map, with the message itself.
func (e *Entrypoint) Config() (map[string]string, *entrypointpb.Config) {
	e.t.Helper()
	down := e.Recv()
	if down.GetConfig() == nil {
		e.t.Fatalf("got %v, want config", down)
	}
	vars := map[string]string{}
	for _, v := range down.GetConfig().GetVariables() {
		vars[v.GetName()] = v.GetValue()
	}
	return vars, down.GetConfig()
}

// Logs sends lines with these seqs, one second apart.
func (e *Entrypoint) Logs(from, to uint64) {
	e.t.Helper()
	batch := &entrypointpb.LogBatch{}
	for seq := from; seq <= to; seq++ {
		batch.Lines = append(batch.Lines, Line(seq))
	}
	e.Send(&entrypointpb.Up{Kind: &entrypointpb.Up_Logs{Logs: batch}})
}

// Line is the line that Logs sends.
func Line(seq uint64) *logspb.Line {
	return &logspb.Line{
		Seq: seq, Time: int64(seq) * int64(time.Second), Source: logspb.Source_SOURCE_STDOUT, Data: fmt.Appendf(nil, "line %d", seq),
	}
}

// Sync returns when all that was sent before has been handled.
func (e *Entrypoint) Sync() {
	e.t.Helper()
	e.Send(&entrypointpb.Up{Kind: &entrypointpb.Up_Ping{Ping: true}})
	if down := e.Recv(); !down.GetPong() {
		e.t.Fatalf("got %v, want pong", down)
	}
}

// Goodbye ends the instance.
func (e *Entrypoint) Goodbye(code int32) {
	e.t.Helper()
	e.Send(&entrypointpb.Up{Kind: &entrypointpb.Up_Goodbye{Goodbye: &entrypointpb.Goodbye{ExitCode: code}}})
	if err := e.Broken(); errs.KindOf(err) != errs.Internal { // io.EOF has no kind
		e.t.Fatalf("after goodbye: %v", err)
	}
}

// Drop breaks the stream, as a lost connection would.
func (e *Entrypoint) Drop() { e.cancel() }

// TakeExec waits for the order to open a session and takes it up.
func (e *Entrypoint) TakeExec() (entrypointpb.Entrypoint_ExecClient, *execpb.Open) {
	e.t.Helper()
	order := e.Recv().GetExec()
	if order == nil {
		e.t.Fatal("not an order to open a session")
	}
	stream, err := e.Client.Exec(e.t.Context())
	if err != nil {
		e.t.Fatalf("exec: %v", err)
	}
	if err := stream.Send(&entrypointpb.ExecUp{SessionId: order.GetSessionId(), InstanceId: e.ID}); err != nil {
		e.t.Fatalf("exec: %v", err)
	}
	first, err := stream.Recv()
	if err != nil || first.GetOpen() == nil {
		e.t.Fatalf("exec: first message %v, %v", first, err)
	}
	return stream, first.GetOpen()
}
