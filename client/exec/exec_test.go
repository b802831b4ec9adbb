package exec

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"waypoint/api/execpb"
	"waypoint/errs"
)

// server plays what is behind a session, one function per stream.
type server struct {
	execpb.UnimplementedExecServer
	mu      sync.Mutex
	streams []func(*talk) error
	opens   []*execpb.Open
}

// talk is the other side of one stream.
type talk struct {
	execpb.Exec_StartServer
	open *execpb.Open
}

func (s *server) Start(stream execpb.Exec_StartServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.opens = append(s.opens, first.GetOpen())
	serve := s.streams[0]
	if len(s.streams) > 1 {
		s.streams = s.streams[1:]
	}
	s.mu.Unlock()
	return errs.ToStatus(serve(&talk{stream, first.GetOpen()}))
}

func (t *talk) opened(resumable bool, stdin uint64) error {
	return t.Send(&execpb.Output{Kind: &execpb.Output_Opened{Opened: &execpb.Opened{
		SessionId: t.open.GetSessionId(), InstanceId: "i1", Resumable: resumable, StdinOffset: stdin,
	}}})
}

func (t *talk) stdout(offset int, text string) error {
	return t.Send(&execpb.Output{Offset: uint64(offset), Kind: &execpb.Output_Stdout{Stdout: []byte(text)}})
}

func (t *talk) exit(code int32) error {
	return t.Send(&execpb.Output{Kind: &execpb.Output_Exit{Exit: &execpb.Exit{Code: code}}})
}

// until receives until something is true of a message.
func (t *talk) until(want func(*execpb.Input) bool) error {
	for {
		in, err := t.Recv()
		if err != nil {
			return err
		}
		if want(in) {
			return nil
		}
	}
}

func exitAck(in *execpb.Input) bool { return in.GetAck().GetExit() }

var errLost = errs.New(errs.Unavailable, "the node is gone")

func dial(t *testing.T, streams ...func(*talk) error) (*server, execpb.ExecClient) {
	t.Helper()
	s := &server{streams: streams}
	grpcServer := grpc.NewServer()
	execpb.RegisterExecServer(grpcServer, s)
	listener := bufconn.Listen(1 << 16)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = grpcServer.Serve(listener)
	}()
	conn, err := grpc.NewClient("passthrough:///fake", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		grpcServer.Stop()
		<-served
	})
	return s, execpb.NewExecClient(typed{conn})
}

// typed gives errors their kinds, as package client does.
type typed struct{ grpc.ClientConnInterface }

func (c typed) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, errs.FromStatus(err)
	}
	return typedStream{stream}, nil
}

type typedStream struct{ grpc.ClientStream }

func (s typedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return errs.FromStatus(err)
}

func TestSessionGoesOnOverAnotherStream(t *testing.T) {
	const half = 100_000
	input := strings.Repeat("0123456789", 2*half/10)
	var got bytes.Buffer
	take := func(upTo int, talk *talk) error {
		for got.Len() < upTo {
			in, err := talk.Recv()
			if err != nil {
				return err
			}
			if len(in.GetStdin()) == 0 {
				continue
			}
			if in.GetOffset() != uint64(got.Len()) {
				return errs.New(errs.Invalid, "byte %d after %d", in.GetOffset(), got.Len())
			}
			got.Write(in.GetStdin())
		}
		return nil
	}
	server, api := dial(t,
		func(talk *talk) error {
			return errors.Join(talk.opened(true, 0), talk.stdout(0, "hello "), take(half, talk), errLost)
		},
		func(*talk) error { return errLost },
		func(talk *talk) error {
			got.Truncate(half) // the rest was lost on the way
			err := errors.Join(talk.opened(true, half), talk.stdout(3, "lo wor"), talk.stdout(9, "ld"), take(2*half, talk))
			err = errors.Join(err, talk.until(func(in *execpb.Input) bool { return in.GetStdinEof() }))
			return errors.Join(err, talk.exit(7), talk.until(exitAck))
		})
	var out bytes.Buffer
	code, err := Run(t.Context(), api, Config{
		Open: &execpb.Open{Argv: []string{"cat"}, Stdin: true}, Stdin: strings.NewReader(input), Stdout: &out,
	})
	if code != 7 || err != nil || out.String() != "hello world" || got.String() != input {
		t.Errorf("exit code %d, %v; %q, %d bytes of input", code, err, out.String(), got.Len())
	}
	first, last := server.opens[0], server.opens[2]
	if first.GetResume() != nil || !first.GetResumable() || last.GetResume().GetStdout() != 6 ||
		last.GetSessionId() != first.GetSessionId() || last.GetInstanceId() != "i1" || last.GetArgv()[0] != "cat" {
		t.Errorf("opened with %v, then %v", first, last)
	}
}

func TestSizeAndSignalsOfThePauseFollow(t *testing.T) {
	signals, away := make(chan os.Signal), make(chan struct{})
	size := &execpb.WindowSize{Rows: 20, Columns: 40}
	var seen []string
	_, api := dial(t,
		func(talk *talk) error { defer close(away); return errors.Join(talk.opened(true, 0), errLost) },
		func(talk *talk) error {
			<-away
			for _, sig := range []os.Signal{syscall.SIGUSR1, syscall.SIGWINCH, syscall.SIGUSR2} {
				signals <- sig
			}
			if err := talk.opened(true, 0); err != nil {
				return err
			}
			err := talk.until(func(in *execpb.Input) bool {
				switch kind := in.GetKind().(type) {
				case *execpb.Input_Size:
					seen = append(seen, "size")
					if kind.Size.GetColumns() != size.GetColumns() {
						seen = append(seen, "wrong")
					}
				case *execpb.Input_Signal:
					seen = append(seen, syscall.Signal(kind.Signal).String())
				}
				return len(seen) >= 3
			})
			return errors.Join(err, talk.exit(0), talk.until(exitAck))
		})
	code, err := Run(t.Context(), api, Config{
		Open: &execpb.Open{Argv: []string{"sh"}, Tty: true}, Stdout: io.Discard, Signals: signals,
		Size: func() *execpb.WindowSize { return size },
	})
	if want := "size,user defined signal 1,user defined signal 2"; code != 0 || err != nil || strings.Join(seen, ",") != want {
		t.Errorf("exit code %d, %v; %v", code, err, seen)
	}
}

func TestSlowReaderKeepsTheStreamGoing(t *testing.T) {
	const total = 3 * window
	reader, writer := io.Pipe()
	_, api := dial(t, func(talk *talk) error {
		if err := talk.opened(true, 0); err != nil {
			return err
		}
		var acked uint64
		for sent := 0; sent < total; sent += 1 << 10 {
			for uint64(sent)-acked >= window {
				in, err := talk.Recv()
				if err != nil {
					return err
				}
				acked = max(acked, in.GetAck().GetStdout())
			}
			if err := talk.stdout(sent, strings.Repeat("x", 1<<10)); err != nil {
				return err
			}
		}
		return errors.Join(talk.exit(0), talk.until(exitAck))
	})
	read := make(chan int)
	go func() {
		n, _ := io.Copy(io.Discard, reader)
		read <- int(n)
	}()
	code, err := Run(t.Context(), api, Config{Open: &execpb.Open{Argv: []string{"x"}}, Stdout: writer})
	writer.Close()
	if n := <-read; code != 0 || err != nil || n != total {
		t.Errorf("exit code %d, %v; %d bytes", code, err, n)
	}
}

func TestAcknowledgementsAreRepeatedOverAnotherStream(t *testing.T) {
	const sent = 2 * ackBytes
	_, api := dial(t,
		func(talk *talk) error {
			err := errors.Join(talk.opened(true, 0), talk.stdout(0, strings.Repeat("x", sent)))
			// It comes here, but not further.
			err = errors.Join(err, talk.until(func(in *execpb.Input) bool { return in.GetAck().GetStdout() == sent }))
			return errors.Join(err, errLost)
		},
		func(talk *talk) error {
			err := errors.Join(talk.opened(true, 0), talk.until(func(in *execpb.Input) bool { return in.GetAck().GetStdout() == sent }))
			return errors.Join(err, talk.exit(0), talk.until(exitAck))
		})
	code, err := Run(t.Context(), api, Config{Open: &execpb.Open{Argv: []string{"x"}}, Stdout: io.Discard})
	if code != 0 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestSessionThatCannotGoOnIsAnError(t *testing.T) {
	opens := func(resumable bool) func(*talk) error {
		return func(talk *talk) error { return errors.Join(talk.opened(resumable, 0), errLost) }
	}
	refuse := func(err error) func(*talk) error {
		return func(talk *talk) error {
			return talk.Send(&execpb.Output{Kind: &execpb.Output_Refused{Refused: errs.ToProto(err)}})
		}
	}
	for name, tt := range map[string]struct {
		streams []func(*talk) error
		want    string
	}{
		"an entrypoint that cannot": {[]func(*talk) error{opens(false)}, "the session is lost: the node is gone; the command is ended there"},
		"it has ended":              {[]func(*talk) error{opens(true), refuse(errs.New(errs.NotFound, "it has ended"))}, "exec: it has ended"},
		"nothing has begun":         {[]func(*talk) error{func(*talk) error { return errLost }}, "the node is gone"},
		"input is not kept": {[]func(*talk) error{opens(true), func(talk *talk) error {
			return errors.Join(talk.opened(true, 100), talk.until(func(*execpb.Input) bool { return false }))
		}}, "input from byte 100 on is wanted"},
		"output is missing": {[]func(*talk) error{opens(true), func(talk *talk) error {
			return errors.Join(talk.opened(true, 0), talk.stdout(5, "x"), talk.until(func(*execpb.Input) bool { return false }))
		}}, "output is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, api := dial(t, tt.streams...)
			_, err := Run(t.Context(), api, Config{Open: &execpb.Open{Argv: []string{"x"}}, Stdout: io.Discard})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSessionIsGivenUpAfterItsTime(t *testing.T) {
	t.Parallel()
	_, api := dial(t,
		func(talk *talk) error { return errors.Join(talk.opened(true, 0), errLost) },
		func(*talk) error { return errLost })
	told := make(chan string, 1)
	began := time.Now()
	_, err := Run(t.Context(), api, Config{Open: &execpb.Open{Argv: []string{"x"}}, Stdout: io.Discard, Notice: func(text string) { told <- text }})
	if err == nil || !strings.Contains(err.Error(), "could not be resumed within 10s") {
		t.Errorf("ended with %v", err)
	}
	if took := time.Since(began); took < ResumeWithin || took > ResumeWithin+2*inFlight {
		t.Errorf("it took %s", took)
	}
	select {
	case <-told:
	default:
		t.Error("nobody was told")
	}
}

func TestWhoGivesUpHasTheCommandEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	closed := make(chan error, 1)
	hold := func(talk *talk) error {
		err := errors.Join(talk.opened(true, 0), talk.stdout(0, "x"))
		err = errors.Join(err, talk.until(func(in *execpb.Input) bool { return in.GetClose() }))
		closed <- err
		return err
	}
	for name, cfg := range map[string]Config{
		"its context ends":        {Stdout: writer(func([]byte) error { cancel(); return nil })},
		"output goes nowhere":     {Stdout: writer(func([]byte) error { return io.ErrClosedPipe })},
		"the user has had enough": {Stdout: io.Discard, Signals: interrupts()},
	} {
		_, api := dial(t, hold)
		use := t.Context()
		if strings.Contains(name, "context") {
			use = ctx
		}
		cfg.Open = &execpb.Open{Argv: []string{"x"}}
		if _, err := Run(use, api, cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := <-closed; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStuckOutputDoesNotKeepWhoGivesUp(t *testing.T) {
	for name, exits := range map[string]bool{"while the command runs": false, "after its end": true} {
		t.Run(name, func(t *testing.T) {
			stuck, release, signals := make(chan struct{}), make(chan struct{}), make(chan os.Signal)
			_, api := dial(t, func(talk *talk) error {
				err := errors.Join(talk.opened(true, 0), talk.stdout(0, "x"), talk.stdout(1, "never"))
				if exits {
					return errors.Join(err, talk.exit(0), talk.until(exitAck))
				}
				return errors.Join(err, talk.until(func(in *execpb.Input) bool { return in.GetClose() }))
			})
			ended := make(chan error, 1)
			var out bytes.Buffer
			go func() {
				_, err := Run(t.Context(), api, Config{
					Open: &execpb.Open{Argv: []string{"x"}}, Signals: signals,
					Stdout: writer(func(p []byte) error {
						if out.Len() == 0 {
							close(stuck)
						}
						out.Write(p)
						<-release
						return nil
					}),
				})
				ended <- err
			}()
			<-stuck
			for range giveUpAt {
				signals <- os.Interrupt
			}
			select {
			case err := <-ended:
				if !errs.Is(err, errs.Canceled) {
					t.Errorf("ended with %v", err)
				}
			case <-time.After(20 * lastWords):
				t.Error("it does not end")
			}
			close(release)
		})
	}
}

type writer func([]byte) error

func (w writer) Write(p []byte) (int, error) { return len(p), w(p) }

func interrupts() <-chan os.Signal {
	c := make(chan os.Signal, giveUpAt)
	for range giveUpAt {
		c <- os.Interrupt
	}
	return c
}
