package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/posener/complete"

	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/ids"
)

func execCommand() *Command {
	f := newFlags()
	var instance string
	var stdin, tty, both bool
	f.Bool(&stdin, "i", "send standard input")
	f.Bool(&tty, "t", "give the command a terminal")
	f.Bool(&both, "it", "the same as -i -t")
	f.String(&instance, "instance", "", complete.PredictAnything, "in the `instance` of this id, or of this end of an id; default: one of the newest deployment")
	where := f.scope("the `app`; needed if the project has several", "the `workspace`; default: \"default\"")
	conn := f.talks()
	return &Command{
		Synopsis: "Run a command inside an instance",
		Args:     "-- COMMAND [ARG...]",
		Help: `The command is looked up in the app's PATH and has the app's environment. The exit code is the command's, 128 plus its number if a signal ended it, and 1 if it could not be run.

Signals are passed on. Without a terminal a third Ctrl-C gives the session up.`,
		Examples: `waypoint exec -it -- sh
			waypoint exec -app=web -- ps aux
			waypoint exec -i -- sh -c 'cat >/tmp/in' <file`,
		Flags:    f,
		Signals:  true,
		Verbatim: true,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if len(args) == 0 {
				return usagef("the command is missing: waypoint exec -- COMMAND")
			}
			at, err := where.target(env)
			if err != nil {
				return err
			}
			ref := at.ref()
			if instance == "" {
				if ref, err = at.oneApp(); err != nil {
					return err
				}
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				id, err := instanceID(ctx, deploymentpb.NewDeploymentServiceClient(cc), ref, instance)
				if err != nil {
					return err
				}
				s := &execSession{env: env, node: cc, open: &execpb.Open{
					SessionId: ids.New(), App: ref, InstanceId: id, Argv: args,
					Stdin: stdin || both, Tty: tty || both,
				}}
				return s.run(ctx)
			})
		},
	}
}

const (
	stdinChunk = 31 << 10         // bytes in one message, as the proto says
	pingEvery  = 15 * time.Second // keeps the stream alive while nothing is typed
	giveUpAt   = 3                // interrupts without a terminal
)

// execSession is one command in one instance.
type execSession struct {
	env  *Env
	node Conn
	open *execpb.Open
	sent uint64 // bytes of standard input
}

func (s *execSession) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.prepareTerminal()
	signals, stopSignals := s.env.Signals(s.forwarded()...)
	defer stopSignals()
	stream, err := execpb.NewExecClient(s.node).Start(ctx)
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	if err := stream.Send(&execpb.Input{Kind: &execpb.Input_Open{Open: s.open}}); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("exec: %w", err)
	}
	restore := func() {}
	if s.open.GetTty() && s.open.GetStdin() && s.env.Terminal.Is(s.env.Stdin) {
		if restore, err = s.env.Terminal.Raw(s.env.Stdin); err != nil {
			return fmt.Errorf("exec: prepare the terminal: %w", err)
		}
	}
	pumped := make(chan error, 1)
	go func() {
		err := s.pump(ctx, stream, signals)
		if err != nil {
			cancel()
		}
		pumped <- err
	}()
	code, err := s.receive(stream)
	cancel()
	restore()
	if given := <-pumped; given != nil {
		err = given
	}
	switch {
	case err != nil:
		return err
	case code != 0:
		return exitCode(code)
	}
	return nil
}

func (s *execSession) prepareTerminal() {
	if s.open.GetTty() {
		s.open.Term = s.env.Getenv("TERM")
		s.open.Size = s.size()
	}
}

// size is the terminal's, or the usual one where there is none.
func (s *execSession) size() *execpb.WindowSize {
	rows, columns, err := s.env.Terminal.Size(s.env.Stdout)
	if err != nil || rows <= 0 || columns <= 0 {
		return &execpb.WindowSize{Rows: 24, Columns: 80}
	}
	return &execpb.WindowSize{Rows: uint32(rows), Columns: uint32(columns)}
}

func (s *execSession) forwarded() []os.Signal {
	sigs := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
	if s.open.GetTty() {
		sigs = append(sigs, syscall.SIGWINCH)
	}
	return sigs
}

// pump is the only sender: standard input, signals, sizes and pings. Its error
// is set if it gave the session up.
func (s *execSession) pump(ctx context.Context, stream execpb.Exec_StartClient, signals <-chan os.Signal) error {
	defer func() { _ = stream.CloseSend() }()
	input := s.readStdin(ctx)
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for interrupts := 0; ; {
		message := &execpb.Input{}
		select {
		case <-ctx.Done():
			return nil
		case <-ping.C:
			message.Kind = &execpb.Input_Ping{Ping: true}
		case data, ok := <-input:
			if ok {
				message.Kind, message.Offset = &execpb.Input_Stdin{Stdin: data}, s.sent
				s.sent += uint64(len(data))
				break
			}
			input = nil
			message.Kind = &execpb.Input_StdinEof{StdinEof: true}
		case sig := <-signals:
			message = s.signal(sig)
			if sig == syscall.SIGINT || sig == syscall.SIGTERM {
				interrupts++
			}
			if interrupts >= giveUpAt {
				message.Kind = &execpb.Input_Close{Close: true}
			}
		}
		// A broken stream is the receiver's to report.
		if stream.Send(message) != nil {
			return nil
		}
		if message.GetClose() {
			return errs.New(errs.Canceled, "exec: given up; the command may go on for some seconds")
		}
	}
}

func (s *execSession) signal(sig os.Signal) *execpb.Input {
	if sig == syscall.SIGWINCH {
		return &execpb.Input{Kind: &execpb.Input_Size{Size: s.size()}}
	}
	number, _ := sig.(syscall.Signal)
	return &execpb.Input{Kind: &execpb.Input_Signal{Signal: int32(number)}}
}

// readStdin hands out standard input in chunks; the channel is closed at its
// end. A read cannot be called off, so nobody can wait for the reader: it ends
// with its next byte or with the process.
func (s *execSession) readStdin(ctx context.Context) <-chan []byte {
	if !s.open.GetStdin() {
		return nil
	}
	input := make(chan []byte)
	go func() {
		defer close(input)
		for {
			buf := make([]byte, stdinChunk)
			n, err := s.env.Stdin.Read(buf)
			if n > 0 {
				select {
				case input <- buf[:n]:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return input
}

// receive writes what comes and returns the command's exit code.
func (s *execSession) receive(stream execpb.Exec_StartClient) (code int, err error) {
	node, opened := s.node.Current(), false
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return 0, errs.New(errs.Unavailable, "exec: the session ended without the command's exit code")
		}
		if err != nil && !opened {
			return 0, err // the server says by itself what it could not do
		}
		if lost(err) {
			return 0, fmt.Errorf("exec: the session through %s is lost: %w; the command is ended there; run it again, another server will take it", orUnknown(node), err)
		}
		if err != nil {
			return 0, fmt.Errorf("exec: %w", err)
		}
		switch kind := message.GetKind().(type) {
		case *execpb.Output_Opened:
			opened = true
		case *execpb.Output_Stdout:
			_, err = s.env.Stdout.Write(kind.Stdout)
		case *execpb.Output_Stderr:
			_, err = s.env.Stderr.Write(kind.Stderr)
		case *execpb.Output_Exit:
			return int(kind.Exit.GetCode()), nil
		case *execpb.Output_Refused:
			return 0, fmt.Errorf("exec: %w", errs.FromProto(kind.Refused))
		}
		if err != nil {
			return 0, fmt.Errorf("exec: write output: %w", err)
		}
	}
}
