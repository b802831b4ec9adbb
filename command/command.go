// Package command is the command line of Waypoint. A command is flags, some
// help and one function: flags in, call, print. It decides nothing that the
// cluster could decide. The list of commands is data (table.go); an adapter
// hands each one to mitchellh/cli.
//
// Commands reach the outside world only through Env, so that tests give them
// other streams, other folders and another cluster. They must not know how a
// node works: "server run" hands its flags to package agent and waits.
package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mitchellh/cli"
	"github.com/posener/complete"

	"waypoint/errs"
)

// Command is one verb.
type Command struct {
	Synopsis string // one line, at most 60 characters
	Args     string // what follows the flags, for the usage line: "NAME=VALUE..."
	Help     string // what a reader needs to know beyond the synopsis
	Examples string // at least one command line, each line beginning with "waypoint"
	Flags    *flags

	// Run does the work. The context ends at the first interrupt, unless
	// Signals is set.
	Run func(ctx context.Context, env *Env, args []string) error
	// Predict completes what follows the flags.
	Predict complete.Predictor
	// Signals says that Run looks after signals itself.
	Signals bool
	// Verbatim says that the first argument ends the flags: the rest is
	// somebody else's command line.
	Verbatim bool
}

// adapter makes a Command one of mitchellh/cli.
type adapter struct {
	ctx  context.Context
	env  *Env
	name string
	cmd  *Command
}

var (
	_ cli.Command             = (*adapter)(nil)
	_ cli.CommandAutocomplete = (*adapter)(nil)
)

func (a *adapter) Synopsis() string { return a.cmd.Synopsis }

func (a *adapter) Help() string { return a.cmd.help(a.name) }

func (a *adapter) AutocompleteFlags() complete.Flags { return a.cmd.Flags.predictors() }

func (a *adapter) AutocompleteArgs() complete.Predictor {
	if a.cmd.Predict == nil {
		return complete.PredictNothing
	}
	return a.cmd.Predict
}

// Run is the exit code: 0 done, 1 failed, 2 used wrongly, or the code that the
// command asks for.
func (a *adapter) Run(args []string) int {
	rest, err := a.cmd.Flags.parse(args, a.cmd.Verbatim)
	if err == nil {
		err = a.run(rest)
	}
	return a.report(err)
}

func (a *adapter) run(args []string) error {
	if a.cmd.Signals {
		return a.cmd.Run(a.ctx, a.env, args)
	}
	ctx, stop := a.env.interruptible(a.ctx)
	defer stop()
	err := a.cmd.Run(ctx, a.env, args)
	if errs.Is(err, errs.Canceled) && errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	return err
}

func (a *adapter) report(err error) int {
	var code exitCode
	var usage *usageError
	switch {
	case err == nil:
		return codeDone
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		fmt.Fprintf(a.env.Stderr, "Error: %v\n\n%s\nSee \"waypoint %s -h\".\n", err, a.cmd.usage(a.name), a.name)
		return codeUsage
	default:
		fmt.Fprintf(a.env.Stderr, "Error: %v\n", err)
		return codeFailed
	}
}

func (c *Command) usage(name string) string {
	parts := []string{"Usage: waypoint", name}
	if c.Flags.any() {
		parts = append(parts, "[flags]")
	}
	if c.Args != "" {
		parts = append(parts, c.Args)
	}
	return strings.Join(parts, " ")
}
