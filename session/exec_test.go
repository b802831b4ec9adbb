package session_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"waypoint/api/entrypointpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/rpctest"
	"waypoint/session"
	"waypoint/session/sessiontest"
)

// side is the asking side of a session, in memory.
type side struct {
	ctx    context.Context
	in     chan *execpb.Input // closed: it sends no more
	out    chan *execpb.Output
	leave  context.CancelFunc
	result chan error
}

// run asks for a session.
func run(t *testing.T, n *sessiontest.Node, open *execpb.Open) *side {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s := &side{ctx: ctx, in: make(chan *execpb.Input), out: make(chan *execpb.Output), leave: cancel, result: make(chan error, 1)}
	go func() {
		err := n.Exec(ctx, open, s)
		cancel() // as a stream does when its handler returns
		s.result <- err
	}()
	return s
}

func (s *side) Send(out *execpb.Output) error {
	select {
	case s.out <- out:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *side) Recv() (*execpb.Input, error) {
	select {
	case in, ok := <-s.in:
		if !ok {
			return nil, io.EOF
		}
		return in, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s *side) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.result:
		return err
	case <-time.After(patience):
		t.Fatal("session did not end")
		return nil
	}
}

func openOf(instance string) *execpb.Open {
	return &execpb.Open{SessionId: ids.New(), InstanceId: instance, Argv: []string{"sh"}, Stdin: true}
}

func attached(t *testing.T, change func(*session.InstancesConfig)) (*sessiontest.Node, *sessiontest.Entrypoint) {
	t.Helper()
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, change)
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{})
	e.Welcome()
	e.Config()
	return n, e
}

func exit(stream entrypointpb.Entrypoint_ExecClient, code int32) error {
	return stream.Send(&entrypointpb.ExecUp{Output: &execpb.Output{Kind: &execpb.Output_Exit{Exit: &execpb.Exit{Code: code}}}})
}

func TestExecCarriesLargeInputAndOutputUnchanged(t *testing.T) {
	n, e := attached(t, nil)
	sent := make([]byte, 3<<20)
	for i := range sent {
		sent[i] = byte(rand.IntN(256))
	}
	s := run(t, n, openOf(e.ID))
	stream, open := e.TakeExec()
	if open.GetInstanceId() != e.ID || open.GetArgv()[0] != "sh" {
		t.Errorf("open %v", open)
	}
	echoed := make(chan error, 1)
	go func() { echoed <- echo(stream) }()
	go func() {
		for part := range bytesIn(sent, 100_000) { // more than an entrypoint takes at a time
			s.in <- &execpb.Input{Kind: &execpb.Input_Stdin{Stdin: part.data}, Offset: part.offset}
		}
		s.in <- &execpb.Input{Kind: &execpb.Input_StdinEof{StdinEof: true}}
	}()
	var got []byte
	for {
		out := <-s.out
		if out.GetExit() != nil {
			if out.GetExit().GetCode() != 42 {
				t.Errorf("exit %v", out.GetExit())
			}
			break
		}
		if out.GetOffset() != uint64(len(got)) {
			t.Fatalf("offset %d at %d", out.GetOffset(), len(got))
		}
		got = append(got, out.GetStdout()...)
	}
	if err := s.end(t); err != nil {
		t.Errorf("session ended with %v", err)
	}
	if err := <-echoed; err != nil {
		t.Error(err)
	}
	if !bytes.Equal(got, sent) {
		t.Error("bytes were changed")
	}
}

type piece struct {
	data   []byte
	offset uint64
}

func bytesIn(data []byte, size int) func(func(piece) bool) {
	return func(yield func(piece) bool) {
		for at := 0; at < len(data); at += size {
			if !yield(piece{data[at:min(at+size, len(data))], uint64(at)}) {
				return
			}
		}
	}
}

// echo sends input back as output and exits with 42 at its end.
func echo(stream entrypointpb.Entrypoint_ExecClient) error {
	for {
		in, err := stream.Recv()
		if err != nil {
			return err
		}
		if len(in.GetStdin()) > 31<<10 {
			return errors.New("more stdin at a time than the protocol allows")
		}
		if in.GetStdinEof() {
			return exit(stream, 42)
		}
		out := &execpb.Output{Kind: &execpb.Output_Stdout{Stdout: in.GetStdin()}, Offset: in.GetOffset()}
		if err := stream.Send(&entrypointpb.ExecUp{Output: out}); err != nil {
			return err
		}
	}
}

func TestExecPassesCloseAndReportsTheExit(t *testing.T) {
	n, e := attached(t, nil)
	s := run(t, n, openOf(e.ID))
	stream, _ := e.TakeExec()
	s.in <- &execpb.Input{Kind: &execpb.Input_Close{Close: true}}
	if in, err := stream.Recv(); err != nil || !in.GetClose() {
		t.Fatalf("instance got %v, %v", in, err)
	}
	if err := exit(stream, 137); err != nil {
		t.Fatal(err)
	}
	if out := <-s.out; out.GetExit().GetCode() != 137 {
		t.Errorf("got %v", out)
	}
	if err := s.end(t); err != nil {
		t.Errorf("session ended with %v", err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("instance's stream ended with %v", err)
	}
}

func TestExecOfCallerThatLeavesIsClosed(t *testing.T) {
	for name, halfClosed := range map[string]bool{"without a word": false, "after the end of input": true} {
		t.Run(name, func(t *testing.T) {
			n, e := attached(t, nil)
			s := run(t, n, openOf(e.ID))
			stream, _ := e.TakeExec()
			if halfClosed {
				close(s.in)
				if in, err := stream.Recv(); err != nil || !in.GetStdinEof() {
					t.Fatalf("instance got %v, %v", in, err)
				}
			}
			s.leave()
			if in, err := stream.Recv(); err != nil || !in.GetClose() {
				t.Errorf("instance got %v, %v", in, err)
			}
			if err := s.end(t); !errs.Is(err, errs.Canceled) {
				t.Errorf("session ended with %v", err)
			}
		})
	}
}

func TestExecEndsWhenTheInstanceGoes(t *testing.T) {
	n, e := attached(t, nil)
	s := run(t, n, openOf(e.ID))
	e.TakeExec()
	n.Server.Stop()
	if err := s.end(t); !errs.Is(err, errs.OutcomeUnknown) {
		t.Errorf("session ended with %v, though its command may run", err)
	}
	n, e = attached(t, nil)
	open := resumableOf(e.ID)
	s = run(t, n, open)
	stream, _ := e.TakeExec()
	opened(t, stream, s)
	n.Server.Stop()
	if err := s.end(t); !errs.Is(err, errs.Unavailable) {
		t.Errorf("session ended with %v", err)
	}
}

func TestExecWithoutInstanceOrAnswerIsAClearError(t *testing.T) {
	n, e := attached(t, func(c *session.InstancesConfig) { c.ExecTimeout = 10 * time.Millisecond })
	if err := run(t, n, openOf(ids.New())).end(t); !errs.Is(err, errs.Unavailable) {
		t.Errorf("unknown instance: %v", err)
	}
	if err := run(t, n, openOf(e.ID)).end(t); !errs.Is(err, errs.Unavailable) {
		t.Errorf("silent instance: %v", err)
	}
	if err := run(t, n, &execpb.Open{SessionId: ids.New(), InstanceId: e.ID}).end(t); !errs.Is(err, errs.Invalid) {
		t.Errorf("no command: %v", err)
	}
}

func TestExecSessionIsTakenUpOnceByItsInstanceOnly(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	_, foreign := sessiontest.Deploy(f)
	n := sessiontest.NewNode(t, f, nil)
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{})
	e.Welcome()
	e.Config()
	open := openOf(e.ID)
	s := run(t, n, open)
	order := e.Recv().GetExec()

	take := func(token string) (entrypointpb.Entrypoint_ExecClient, error) {
		stream, err := entrypointpb.NewEntrypointClient(n.Server.Dial(token)).Exec(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&entrypointpb.ExecUp{SessionId: order.GetSessionId(), InstanceId: e.ID}); err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		return stream, errs.FromStatus(err)
	}
	if _, err := take(foreign); !errs.Is(err, errs.NotFound) {
		t.Errorf("another deployment: %v", err)
	}
	stream, err := take(token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := take(token); !errs.Is(err, errs.Conflict) {
		t.Errorf("second time: %v", err)
	}
	if err := run(t, n, open).end(t); !errs.Is(err, errs.AlreadyExists) {
		t.Errorf("same session id: %v", err)
	}
	refused := &execpb.Output{Kind: &execpb.Output_Refused{Refused: errs.ToProto(errs.New(errs.NotFound, "no such program"))}}
	if err := stream.Send(&entrypointpb.ExecUp{Output: refused}); err != nil {
		t.Fatal(err)
	}
	if out := <-s.out; out.GetRefused().GetMessage() != "no such program" {
		t.Errorf("got %v", out)
	}
	if err := s.end(t); err != nil {
		t.Errorf("session ended with %v", err)
	}
}

func TestSlowReaderOfOneSessionDoesNotBlockOthers(t *testing.T) {
	n, e := attached(t, nil)
	slow := run(t, n, openOf(e.ID))
	slowStream, _ := e.TakeExec()
	flooding := make(chan struct{})
	go func() {
		defer close(flooding)
		data := make([]byte, 31<<10)
		for range 64 { // far beyond every window; nobody reads
			if slowStream.Send(&entrypointpb.ExecUp{Output: &execpb.Output{Kind: &execpb.Output_Stdout{Stdout: data}}}) != nil {
				return
			}
		}
	}()
	quick := run(t, n, openOf(e.ID))
	stream, _ := e.TakeExec()
	if err := exit(stream, 0); err != nil {
		t.Fatal(err)
	}
	if out := <-quick.out; out.GetExit() == nil {
		t.Errorf("got %v", out)
	}
	if err := quick.end(t); err != nil {
		t.Errorf("quick session ended with %v", err)
	}
	e.Logs(1, 10)
	e.Sync()
	slow.leave()
	if err := slow.end(t); !errs.Is(err, errs.Canceled) {
		t.Errorf("slow session ended with %v", err)
	}
	<-flooding
}
