package command

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/posener/complete"

	"waypoint/api/runnerpb"
	"waypoint/command/output"
	"waypoint/runner"
)

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
		Help:     `It takes jobs that were submitted with -remote until it is told to stop (SIGTERM or Ctrl-C), then lets go of the cluster. Its token is one of kind runner: "waypoint token create -kind=runner". Jobs name a folder on this host.`,
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
			return runRunner(ctx, env, t, cfg)
		},
	}
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
				table := output.NewTable("NAME", "KIND", "STATE", "HOST", "LABELS", "SLOTS", "NODE", "ATTACHED", "ID")
				for _, r := range reply.GetRunners() {
					kind := "remote"
					if r.GetLocal() {
						kind = "local"
					}
					table.Row(r.GetName(), kind, output.Enum(r.GetState(), "STATE_"), r.GetHost(), labelWords(r.GetLabels()), fmt.Sprint(r.GetSlots()), r.GetNodeId(), output.Ago(env.Now(), r.GetAttachedAt()), r.GetId())
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
