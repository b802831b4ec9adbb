package command

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/deploymentpb"
	"waypoint/api/errpb"
	"waypoint/api/execpb"
	"waypoint/errs"
)

const execStart = "waypoint.exec.Exec/Start"

// serves makes the cluster answer exec with fn, which gets the opening.
func (f *fakeCluster) serves(fn func(open *execpb.Open, receive func() (*execpb.Input, error), send func(*execpb.Output) error) error) {
	f.streams[execStart] = func(stream grpc.ServerStream) error {
		receive := func() (*execpb.Input, error) {
			in := &execpb.Input{}
			err := stream.RecvMsg(in)
			return in, err
		}
		first, err := receive()
		if err != nil {
			return err
		}
		return fn(first.GetOpen(), receive, func(out *execpb.Output) error { return stream.SendMsg(out) })
	}
}

func stdoutOf(text string) *execpb.Output {
	return &execpb.Output{Kind: &execpb.Output_Stdout{Stdout: []byte(text)}}
}

// begun says that the command has been started, by an entrypoint that keeps
// nothing.
func begun() *execpb.Output {
	return &execpb.Output{Kind: &execpb.Output_Opened{Opened: &execpb.Opened{InstanceId: idA}}}
}

func exit(code int32) *execpb.Output {
	return &execpb.Output{Kind: &execpb.Output_Exit{Exit: &execpb.Exit{Code: code}}}
}

func execWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.project("shop", "web")
	return w
}

func TestExecReturnsTheCommandsExitCode(t *testing.T) {
	w := execWorld(t)
	for _, code := range []int{0, 7, 137, 2} {
		var got *execpb.Open
		w.cluster.serves(func(open *execpb.Open, _ func() (*execpb.Input, error), send func(*execpb.Output) error) error {
			got = open
			return errors.Join(send(stdoutOf("out\n")), send(&execpb.Output{Kind: &execpb.Output_Stderr{Stderr: []byte("err\n")}}), send(exit(int32(code))))
		})
		gave, stdout, stderr := w.run("exec", "--", "ls", "-h", "-json")
		if gave != code || stdout != "out\n" || stderr != "err\n" {
			t.Errorf("exit code %d, want %d; %q, %q", gave, code, stdout, stderr)
		}
		want := &execpb.Open{SessionId: got.GetSessionId(), App: web(), Argv: []string{"ls", "-h", "-json"}, Resumable: true}
		if !proto.Equal(got, want) || len(got.GetSessionId()) != fullID {
			t.Errorf("opened %v, want %v", got, want)
		}
	}
}

func TestExecSendsStandardInputToItsEnd(t *testing.T) {
	w := execWorld(t)
	w.Stdin = strings.NewReader(strings.Repeat("x", 31<<10+5))
	w.cluster.serves(func(open *execpb.Open, receive func() (*execpb.Input, error), send func(*execpb.Output) error) error {
		var total uint64
		if err := send(begun()); err != nil {
			return err
		}
		for {
			in, err := receive()
			switch {
			case err != nil:
				return err
			case in.GetStdinEof():
				return errors.Join(send(stdoutOf(strings.Repeat(".", int(total/1024)))), send(exit(0)))
			case len(in.GetStdin()) > 31<<10 || in.GetOffset() != total:
				return errs.New(errs.Invalid, "%d bytes at %d after %d", len(in.GetStdin()), in.GetOffset(), total)
			}
			total += uint64(len(in.GetStdin()))
		}
	})
	w.prints(strings.Repeat(".", 31), "exec", "-i", "cat")
}

func TestExecWithATerminalIsRawAndFollowsItsSize(t *testing.T) {
	w := execWorld(t)
	in, unblock := io.Pipe()
	defer unblock.Close()
	w.Stdin = in
	w.terminal.of = map[any]bool{in: true, w.out: true}
	w.Environ = append(w.Environ, "TERM=xterm")
	w.cluster.serves(func(open *execpb.Open, receive func() (*execpb.Input, error), send func(*execpb.Output) error) error {
		if !open.GetTty() || !open.GetStdin() || open.GetTerm() != "xterm" || open.GetSize().GetRows() != 40 || open.GetSize().GetColumns() != 100 {
			return errs.New(errs.Invalid, "opened %v", open)
		}
		if err := send(begun()); err != nil {
			return err
		}
		w.signals <- syscall.SIGWINCH
		message, err := receive()
		if err != nil || message.GetSize().GetColumns() != 100 {
			return errs.New(errs.Invalid, "size: %v, %v", message, err)
		}
		w.signals <- syscall.SIGTERM
		message, err = receive()
		if err != nil || message.GetSignal() != int32(syscall.SIGTERM) {
			return errs.New(errs.Invalid, "signal: %v, %v", message, err)
		}
		w.terminal.mu.Lock()
		raw := w.terminal.raw
		w.terminal.mu.Unlock()
		if raw != 1 {
			return errs.New(errs.Invalid, "the terminal is not raw")
		}
		return send(exit(3))
	})
	if code, _, stderr := w.run("exec", "-it", "--", "sh"); code != 3 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if w.terminal.raw != 0 {
		t.Error("the terminal stays raw")
	}
}

func TestThirdInterruptGivesTheSessionUp(t *testing.T) {
	w := execWorld(t)
	w.cluster.serves(func(_ *execpb.Open, receive func() (*execpb.Input, error), send func(*execpb.Output) error) error {
		if err := send(begun()); err != nil {
			return err
		}
		for range 2 {
			w.signals <- syscall.SIGINT
			if in, err := receive(); err != nil || in.GetSignal() != int32(syscall.SIGINT) {
				return errs.New(errs.Invalid, "got %v, %v", in, err)
			}
		}
		w.signals <- syscall.SIGINT
		for {
			if _, err := receive(); err != nil {
				return err
			}
		}
	})
	w.fails(codeFailed, "given up", "exec", "--", "sleep", "1000")
}

func TestExecSaysWhyThereIsNoSession(t *testing.T) {
	w := execWorld(t)
	w.cluster.serves(func(_ *execpb.Open, _ func() (*execpb.Input, error), send func(*execpb.Output) error) error {
		return send(&execpb.Output{Kind: &execpb.Output_Refused{Refused: &errpb.Error{Kind: errs.NotFound, Message: "no such program: shh"}}})
	})
	w.fails(codeFailed, "exec: no such program: shh", "exec", "shh")
	w.cluster.serves(func(*execpb.Open, func() (*execpb.Input, error), func(*execpb.Output) error) error {
		return errs.New(errs.Unavailable, "exec: no instance of web v3 is attached now")
	})
	w.fails(codeFailed, "Error: exec: no instance of web v3 is attached now\n", "exec", "sh")
	w.cluster.serves(func(_ *execpb.Open, _ func() (*execpb.Input, error), send func(*execpb.Output) error) error {
		return errors.Join(send(&execpb.Output{Kind: &execpb.Output_Opened{Opened: &execpb.Opened{}}}),
			errs.New(errs.Unavailable, "the instance's node is lost"))
	})
	w.fails(codeFailed, "exec: the session is lost: the instance's node is lost", "exec", "sh")
	w.cluster.serves(func(*execpb.Open, func() (*execpb.Input, error), func(*execpb.Output) error) error { return nil })
	w.fails(codeFailed, "without the command's exit code", "exec", "sh")
}

func TestExecNeedsToKnowTheApp(t *testing.T) {
	w := newWorld(t)
	w.project("shop", "web", "worker")
	w.fails(codeUsage, "name one of web, worker with -app", "exec", "sh")
	w.fails(codeUsage, "name the app with -app", "exec", "-p=other", "sh")
	w.cluster.answer(deployments+"ListInstances", &deploymentpb.ListInstancesResponse{Instances: []*deploymentpb.Instance{{Id: idA}}})
	w.cluster.serves(func(open *execpb.Open, _ func() (*execpb.Input, error), send func(*execpb.Output) error) error {
		return errors.Join(send(stdoutOf(open.GetInstanceId())), send(exit(0)))
	})
	w.prints(idA, "exec", "-instance=0000A", "sh")
}

func TestExecGoesOnWhenItsStreamIsLost(t *testing.T) {
	w := execWorld(t)
	w.terminal.of = map[any]bool{w.err: true}
	streams := 0
	w.cluster.serves(func(open *execpb.Open, receive func() (*execpb.Input, error), send func(*execpb.Output) error) error {
		answer := begun()
		answer.GetOpened().Resumable = true
		streams++
		if streams == 1 {
			return errors.Join(send(answer), send(stdoutOf("hello ")), errs.New(errs.Unavailable, "the node is lost"))
		}
		if open.GetResume().GetStdout() != 6 || open.GetInstanceId() != idA {
			return errs.New(errs.Invalid, "opened %v", open)
		}
		world := stdoutOf("world\n")
		world.Offset = 6
		if err := errors.Join(send(answer), send(world), send(exit(4))); err != nil {
			return err
		}
		for {
			if in, err := receive(); err != nil || in.GetAck().GetExit() {
				return err
			}
		}
	})
	if code, stdout, stderr := w.run("exec", "--", "greet"); code != 4 || stdout != "hello world\n" || stderr != "" {
		t.Errorf("exit code %d; %q, %q", code, stdout, stderr)
	}
}

func TestExecListShowsWhatWasRun(t *testing.T) {
	w := execWorld(t)
	at := func(before time.Duration) *timestamppb.Timestamp { return timestamppb.New(w.Now().Add(-before)) }
	w.cluster.answer("waypoint.exec.Exec/ListSessions", &execpb.ListSessionsResponse{Sessions: []*execpb.Session{
		{Id: "S1", App: web(), InstanceId: idA, Subject: "alice", Argv: []string{"sh", "-c", "echo a  b"}, StartedAt: at(time.Minute)},
		{Id: "S2", App: web(), InstanceId: idA, TokenId: "T", Argv: []string{strings.Repeat("x", 80)}, StartedAt: at(time.Hour), EndedAt: at(50 * time.Minute), Exit: &execpb.Exit{Code: 137}},
		{Id: "S3", App: web(), InstanceId: idA, Subject: "bob", Argv: []string{"ls"}, ArgvCut: true, StartedAt: at(time.Hour), EndedAt: at(time.Hour), Error: "its end is not known"},
	}})
	code, stdout, _ := w.run("exec", "list", "-instance="+idA, "-running", "-limit=5")
	request := w.cluster.request("waypoint.exec.Exec/ListSessions").(*execpb.ListSessionsRequest)
	if code != 0 || request.GetInstanceId() != idA || !request.GetRunning() || request.GetLimit() != 5 || request.GetApp().GetProject() != "shop" {
		t.Errorf("exit code %d, asked for %v", code, request)
	}
	for _, want := range []string{"WHO", `sh -c "echo a  b"`, "alice", "1m0s", "137", "10m0s", "ls…", "?", strings.Repeat("x", 59) + "…"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	if code, stdout, _ := w.run("exec", "list", "-json"); code != 0 || !strings.Contains(stdout, `"its end is not known"`) {
		t.Errorf("exit code %d: %s", code, stdout)
	}
}

func TestProgramCalledListIsRun(t *testing.T) {
	w := execWorld(t)
	w.cluster.serves(func(open *execpb.Open, _ func() (*execpb.Input, error), send func(*execpb.Output) error) error {
		return errors.Join(send(stdoutOf(strings.Join(open.GetArgv(), "|"))), send(exit(0)))
	})
	w.prints("list", "exec", "--", "list")
	w.prints("list|x", "exec", "-app=web", "list", "x")
	w.prints("list|x", "exec", "--", "list", "x")
}
