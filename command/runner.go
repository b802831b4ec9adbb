package command

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/posener/complete"

	"waypoint/api/authpb"
	"waypoint/api/runnerpb"
	"waypoint/command/output"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/runner"
)

// revokeLimit bounds the last call of a runner that stops.
const revokeLimit = 5 * time.Second

// logging holds the flags of a program that runs for long and logs to
// standard error.
type logging struct {
	level string
	json  bool
}

func (f *flags) logging(level string) *logging {
	l := &logging{}
	f.String(&l.level, "log-level", level, complete.PredictSet("trace", "debug", "info", "warn", "error", "off"), "how much to log (`level`): trace, debug, info, warn, error or off")
	f.Bool(&l.json, "log-json", "log in JSON")
	return l
}

func (l *logging) logger(env *Env, name string) (hclog.Logger, error) {
	level := hclog.LevelFromString(l.level)
	if level == hclog.NoLevel {
		return nil, usagef("-log-level=%s: use trace, debug, info, warn, error or off", l.level)
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: level, Output: env.Stderr, JSONFormat: l.json}), nil
}

func runnerAgentCommand() *Command {
	f := newFlags()
	cfg := runner.Config{}
	var entrypoint string
	var slots uint
	f.String(&cfg.Name, "name", "", complete.PredictAnything, "`name` of the runner; default: the host's name")
	f.Map(&cfg.Labels, "label", "`key=value` that jobs may ask for; may be given several times")
	f.Uint(&slots, "slots", 2, "how many jobs to do at a time (`number`)")
	f.String(&entrypoint, "entrypoint", "", complete.PredictFiles("*"), "the `file` of waypoint-entrypoint; default: beside this program, then in PATH")
	log := f.logging("info")
	conn := f.talks()
	return &Command{
		Synopsis: "Run a runner, which does the work of jobs",
		Help: `It takes jobs that were submitted with -remote until it is told to stop (SIGTERM or Ctrl-C), then lets go of the cluster. Jobs name a folder on this host.

Give it a token of kind runner ("waypoint token create -kind=runner"). With a user's token it makes one for itself, and revokes that when it stops.`,
		Examples: `waypoint runner agent -name=build-1 -label=zone=a -slots=4`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			logger, err := log.logger(env, "runner")
			if err != nil {
				return err
			}
			if slots == 0 {
				return usagef("-slots=0: a runner needs at least one slot")
			}
			cfg.Slots, cfg.EntrypointBinary, cfg.Logger = int(slots), env.entrypointBinary(entrypoint), logger
			cfg.Host = env.Host
			if cfg.Name == "" {
				cfg.Name = env.Host
			}
			t, err := conn.target(env)
			if err != nil {
				return err
			}
			t, revoke, err := runnerTarget(ctx, env, t, cfg)
			if err != nil {
				return err
			}
			defer revoke()
			return runRunner(ctx, env, t, cfg)
		},
	}
}

// runnerTarget gives a runner a token of its own if it was started with a
// user's: a user's runner gets only the jobs of its own command. It waits until
// the cluster can be asked.
func runnerTarget(ctx context.Context, env *Env, t Target, cfg runner.Config) (own Target, revoke func(), err error) {
	cc, err := env.Dial(t)
	if err != nil {
		return t, nil, err
	}
	api := authpb.NewAuthClient(cc)
	pause := backoff.New(time.Second, 15*time.Second)
	for {
		var who *authpb.WhoAmIResponse
		if who, err = api.WhoAmI(ctx, &authpb.WhoAmIRequest{}); err == nil {
			return ownToken(ctx, cc, t, cfg, who)
		}
		if !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Deadline) {
			break
		}
		cfg.Logger.Warn("no server answers yet; trying again", "error", err)
		if pause.Wait(ctx) != nil {
			break
		}
	}
	return t, nil, errors.Join(fmt.Errorf("start a runner: %w", err), cc.Close())
}

func ownToken(ctx context.Context, cc Conn, t Target, cfg runner.Config, who *authpb.WhoAmIResponse) (Target, func(), error) {
	if who.GetKind() != "user" {
		return t, func() {}, cc.Close()
	}
	api := authpb.NewAuthClient(cc)
	reply, err := api.CreateToken(ctx, &authpb.CreateTokenRequest{Kind: authpb.TokenKind_TOKEN_KIND_RUNNER, Subject: cfg.Name,
		Description: "made by \"waypoint runner agent\" on " + cfg.Host})
	if err != nil {
		return t, nil, errors.Join(fmt.Errorf("make a token for the runner: %w", err), cc.Close())
	}
	t.Token = reply.GetText()
	return t, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeLimit)
		defer cancel()
		defer cc.Close()
		if _, err := api.RevokeToken(ctx, &authpb.RevokeTokenRequest{Id: reply.GetToken().GetId()}); err != nil {
			cfg.Logger.Warn("the runner's token was not revoked", "token", reply.GetToken().GetId(), "error", err)
		}
	}, nil
}

func runRunner(ctx context.Context, env *Env, t Target, cfg runner.Config) error {
	r, err := env.NewRunner(t, cfg)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	select {
	case <-r.Attached():
		fmt.Fprintf(env.Stdout, "Runner %s (%s) is attached and takes jobs.\n", cfg.Name, r.ID())
		err = <-done
	case err = <-done:
	}
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		// Stopping is what was asked for.
		fmt.Fprintln(env.Stdout, "Runner stopped.")
		return nil
	}
	return err
}

func runnerListCommand() *Command {
	f := newFlags()
	var all bool
	f.Bool(&all, "all", "show runners that are gone too")
	conn := f.reads()
	return &Command{
		Synopsis: "List runners",
		Help:     `KIND is "local" for the runner inside of somebody's command line, which takes only that command's job.`,
		Examples: `waypoint runner list`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := runnerpb.NewRunnerServiceClient(cc).List(ctx, &runnerpb.ListRequest{All: all})
				if err != nil {
					return fmt.Errorf("list runners: %w", err)
				}
				if conn.json {
					return output.Message(env.Stdout, reply)
				}
				nodeName := nodeNames(ctx, cc)
				table := output.NewTable("NAME", "KIND", "STATE", "HOST", "LABELS", "SLOTS", "NODE", "ATTACHED", "ID")
				for _, r := range reply.GetRunners() {
					kind := "remote"
					if r.GetLocal() {
						kind = "local"
					}
					table.Row(r.GetName(), kind, output.Enum(r.GetState(), "STATE_"), r.GetHost(), labelWords(r.GetLabels()), fmt.Sprint(r.GetSlots()), nodeName(r.GetNodeId()), output.Ago(env.Now(), r.GetAttachedAt()), r.GetId())
				}
				return conn.show(env, reply, orHint(table, "No runner is attached; \"waypoint runner agent\" runs one, and \"waypoint up\" brings its own."))
			})
		},
	}
}

func labelWords(labels map[string]string) string {
	words := make([]string, 0, len(labels))
	for key, value := range labels {
		words = append(words, key+"="+value)
	}
	sort.Strings(words)
	return strings.Join(words, ",")
}
