package command

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/posener/complete"

	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/client/exec"
	"waypoint/command/output"
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

Signals are passed on. Without a terminal a third Ctrl-C gives the session up. When a server is lost the session goes on through another one, after a pause of up to 10s. A command called "list" needs the "--": "waypoint exec list" shows what was run.`,
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
				open := &execpb.Open{
					SessionId: ids.New(), App: ref, InstanceId: id, Argv: args,
					Stdin: stdin || both, Tty: tty || both,
				}
				return runExec(ctx, env, cc, open)
			})
		},
	}
}

// runExec runs a command in an instance; its exit code, unless 0, is the error.
func runExec(ctx context.Context, env *Env, cc Conn, open *execpb.Open) error {
	cfg := exec.Config{Open: open, Stdin: env.Stdin, Stdout: env.Stdout, Stderr: env.Stderr}
	sigs := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
	if open.GetTty() {
		cfg.Size = func() *execpb.WindowSize { return windowSize(env) }
		open.Term, open.Size = env.Getenv("TERM"), cfg.Size()
		sigs = append(sigs, syscall.SIGWINCH)
	}
	raw := open.GetTty() && open.GetStdin() && env.Terminal.Is(env.Stdin)
	if raw {
		restore, err := env.Terminal.Raw(env.Stdin)
		if err != nil {
			return fmt.Errorf("exec: prepare the terminal: %w", err)
		}
		defer restore()
	} else if env.Terminal.Is(env.Stderr) {
		cfg.Notice = func(text string) { fmt.Fprintln(env.Stderr, text) }
	}
	signals, stop := env.Signals(sigs...)
	defer stop()
	cfg.Signals = signals
	code, err := exec.Run(ctx, execpb.NewExecClient(cc), cfg)
	if err == nil && code != 0 {
		return exitCode(code)
	}
	return err
}

// windowSize is the terminal's, or the usual one where there is none.
func windowSize(env *Env) *execpb.WindowSize {
	rows, columns, err := env.Terminal.Size(env.Stdout)
	if err != nil || rows <= 0 || columns <= 0 {
		return &execpb.WindowSize{Rows: 24, Columns: 80}
	}
	return &execpb.WindowSize{Rows: uint32(rows), Columns: uint32(columns)}
}

func execListCommand() *Command {
	f, list := newListFlags()
	var instance string
	var running bool
	f.String(&instance, "instance", "", complete.PredictAnything, "only in the `instance` of this id, or of this end of an id")
	f.Bool(&running, "running", "only those that have not ended")
	list.limited(f)
	return &Command{
		Synopsis: "List what was run inside instances",
		Help: filterHelp + ` WHO is the subject of the token that asked. To run a program that is called "list", write "waypoint exec -- list".

EXIT is empty while the command runs, and "?" if nobody could tell how it ended: -json says why.`,
		Examples: `waypoint exec list -app=web -running`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			return list.filtered(ctx, env, args, func(ctx context.Context, cc Conn, ref *deploymentpb.AppRef) error {
				req := &execpb.ListSessionsRequest{App: ref, Running: running, Limit: uint32(list.limit)}
				var err error
				if req.InstanceId, err = instanceID(ctx, deploymentpb.NewDeploymentServiceClient(cc), ref, instance); err != nil {
					return err
				}
				reply, err := execpb.NewExecClient(cc).ListSessions(ctx, req)
				if err != nil {
					return fmt.Errorf("list exec sessions: %w", err)
				}
				return list.conn.show(env, reply, orHint(execTable(env, reply.GetSessions()), "There are no exec sessions; \"waypoint exec\" opens one."))
			})
		},
	}
}

func execTable(env *Env, sessions []*execpb.Session) *output.Table {
	table := output.NewTable("ID", "APP", "INSTANCE", "WHO", "COMMAND", "STARTED", "DURATION", "EXIT")
	for _, s := range sessions {
		end, exit := env.Now(), ""
		if s.GetEndedAt() != nil {
			end, exit = s.GetEndedAt().AsTime(), "?"
		}
		if s.GetExit() != nil {
			exit = fmt.Sprint(s.GetExit().GetCode())
		}
		table.Row(s.GetId(), appPath(s.GetApp()), s.GetInstanceId(), cmp.Or(s.GetSubject(), s.GetTokenId()), commandLine(s),
			output.Ago(env.Now(), s.GetStartedAt()), end.Sub(s.GetStartedAt().AsTime()).Round(time.Second).String(), exit)
	}
	return table
}

const shownCommand = 60 // characters

// commandLine is a command as a shell would take it, shortened for a table.
func commandLine(s *execpb.Session) string {
	words := make([]string, len(s.GetArgv()))
	for i, word := range s.GetArgv() {
		if words[i] = word; word == "" || strings.ContainsFunc(word, special) {
			words[i] = strconv.Quote(word)
		}
	}
	line := []rune(strings.Join(words, " "))
	if len(line) > shownCommand || s.GetArgvCut() {
		line = append(line[:min(len(line), shownCommand-1)], '…')
	}
	return string(line)
}

func special(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '"' }
