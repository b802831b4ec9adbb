package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/mitchellh/cli"

	"waypoint/version"
)

// Main runs the command line that args (without the program's name) holds and
// is the process's exit code: 0 done, 1 failed, 2 used wrongly; "exec" gives
// the remote command's.
func Main(ctx context.Context, env *Env, args []string) int {
	table := commands()
	c := cli.NewCLI("waypoint", "waypoint "+describeBuild(version.Build()))
	c.Args = args
	c.HelpWriter = env.Stdout
	c.ErrorWriter = env.Stderr
	c.HelpFunc = func(map[string]cli.CommandFactory) string { return strings.TrimRight(overview(table), "\n") }
	c.Commands = make(map[string]cli.CommandFactory, len(table))
	for _, e := range table {
		c.Commands[e.name] = func() (cli.Command, error) {
			return &adapter{ctx: ctx, env: env, name: e.name, cmd: e.build()}, nil
		}
	}
	if code, done := misuse(c, env, table, args); done {
		return code
	}
	code, err := c.Run()
	if err != nil {
		fmt.Fprintf(env.Stderr, "Error: %v\n", err)
		return codeFailed
	}
	if code == codeDone {
		completionDone(c, env)
	}
	return code
}

// completionDone says what the library does in silence.
func completionDone(c *cli.CLI, env *Env) {
	if len(c.Args) == 0 {
		return
	}
	switch strings.TrimLeft(c.Args[0], "-") {
	case c.AutocompleteInstall:
		fmt.Fprintln(env.Stdout, "Completion is installed; new shells have it.")
	case c.AutocompleteUninstall:
		fmt.Fprintln(env.Stdout, "Completion is removed; new shells do not have it.")
	}
}

// misuse answers what mitchellh/cli would answer with exit codes of its own:
// no command, an unknown one, and flags in front of it.
func misuse(c *cli.CLI, env *Env, table []entry, args []string) (code int, done bool) {
	if env.Getenv("COMP_LINE") != "" || c.IsHelp() && c.Subcommand() == "" || c.IsVersion() {
		return 0, false
	}
	if len(args) == 0 {
		fmt.Fprint(env.Stdout, overview(table))
		return codeDone, true
	}
	if first := args[0]; strings.HasPrefix(first, "-") {
		name := strings.TrimLeft(first, "-")
		if name == c.AutocompleteInstall || name == c.AutocompleteUninstall {
			return 0, false
		}
		fmt.Fprintf(env.Stderr, "Error: flags stand behind the command: waypoint COMMAND %s\n\nSee \"waypoint -h\".\n", first)
		return codeUsage, true
	}
	if _, ok := c.Commands[c.Subcommand()]; !ok {
		fmt.Fprintf(env.Stderr, "Error: there is no command %q\n\nSee \"waypoint -h\".\n", args[0])
		return codeUsage, true
	}
	return 0, false
}
