package command

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/posener/complete"

	"waypoint/agent"
	"waypoint/cluster"
	"waypoint/command/output"
)

const serverMigrateLogHelp = `A node keeps its consensus log in "wal" (append-only files, the default) or in "bolt" (one file). This copies the log of a stopped node to the other, reads the copy back and compares it, and only then uses it in place of the old one, which is removed. Nothing else changes: the node stays who it is, and term, vote and snapshots stay where they are.

It may be interrupted at any time, also by a crash: the node then starts with the old log or with the new one, and the command can be given again. The other nodes go on meanwhile; migrate one node at a time.`

// migratedLog is what "server migrate-log" tells with -json.
type migratedLog struct {
	DataDir string `json:"dataDir"`
	From    string `json:"from"`
	To      string `json:"to"`
	Entries uint64 `json:"entries"`
	Moved   bool   `json:"moved"`
}

func serverMigrateLogCommand() *Command {
	f := newFlags()
	var dataDir, to string
	var asJSON bool
	f.String(&dataDir, "data-dir", "", complete.PredictDirs("*"), "data `folder` of the node, which must not be running")
	f.String(&to, "to", "", complete.PredictSet(agent.LogStores()...), "what shall keep the log (`store`): "+strings.Join(agent.LogStores(), " or "))
	f.jsonFlag(&asJSON)
	log := f.logging("warn")
	return &Command{
		Synopsis: "Move a stopped node's log to another store",
		Help:     serverMigrateLogHelp,
		Examples: `waypoint server migrate-log -data-dir=/var/lib/waypoint -to=wal`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if dataDir == "" {
				return usagef("-data-dir is missing: the data folder of a node that is stopped")
			}
			if !slices.Contains(agent.LogStores(), to) {
				return usagef("-to=%s: use one of %q", to, agent.LogStores())
			}
			logger, err := log.logger(env, "waypoint")
			if err != nil {
				return err
			}
			path := env.path(dataDir)
			m, err := cluster.MigrateLog(ctx, path, to, copying(env), logger)
			if err != nil {
				return fmt.Errorf("migrate the log: %w", err)
			}
			if asJSON {
				return output.Value(env.Stdout, migratedLog{path, m.From, m.To, m.Entries, m.From != m.To})
			}
			if m.From == m.To {
				_, err = fmt.Fprintf(env.Stdout, "The log of %s is kept in %s already; nothing was moved.\n", path, m.To)
			} else {
				_, err = fmt.Fprintf(env.Stdout, "The log of %s was moved from %s to %s (entries: %d).\n", path, m.From, m.To, m.Entries)
			}
			return err
		},
	}
}

// copying tells about a long copy, each second at most.
func copying(env *Env) func(done, entries uint64) {
	last := env.Now()
	return func(done, entries uint64) {
		if now := env.Now(); now.Sub(last) >= time.Second {
			last = now
			fmt.Fprintf(env.Stderr, "Copied %d of %d entries.\n", done, entries)
		}
	}
}
