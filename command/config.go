package command

import (
	"context"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/posener/complete"

	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/command/output"
	"waypoint/config"
	"waypoint/errs"
)

// configScope holds the flags that say whom a variable is for.
type configScope struct {
	global bool
	scope  *scope
}

func (f *flags) configScope() *configScope {
	c := &configScope{}
	f.Bool(&c.global, "global", "for every app of every project")
	c.scope = f.scope("for this `app` only", "for this `workspace` only; default: all workspaces")
	return c
}

const scopeHelp = `Scopes from wide to narrow: -global for every app of every project, -project for all apps of a project, -app for one app. Without any of them it is the app of this folder's project, or, if the project has several, all of them. -workspace narrows each of them to one workspace. Where several scopes give a variable a value, the narrowest wins; the config block of a project file is wider than what is set for its app.`

func (c *configScope) resolve(env *Env) (*configpb.Scope, error) {
	if c.global {
		if c.scope.project != "" || c.scope.app != "" {
			return nil, usagef("-global goes with neither -project nor -app")
		}
		return &configpb.Scope{Workspace: c.scope.workspace}, nil
	}
	at, err := c.scope.find(env)
	if err != nil {
		return nil, err
	}
	if c.scope.project == "" && at.app == "" && len(at.file.Apps) == 1 {
		at.app = at.file.Apps[0]
	}
	return &configpb.Scope{Project: at.project, App: at.app, Workspace: at.workspace}, nil
}

// condition is the flag -if-version.
type condition struct {
	flags   *flags
	version uint
}

func (f *flags) ifVersion() *condition {
	c := &condition{flags: f}
	f.Uint(&c.version, "if-version", 0, "change only if the variable is at this `version`; 0: only if it does not exist")
	return c
}

func (c *condition) apply(change *configpb.Change) {
	if c.flags.IsSet("if-version") {
		version := uint64(c.version)
		change.IfVersion = &version
	}
}

func configSetCommand() *Command {
	f := newFlags()
	who := f.configScope()
	where := f.configFile()
	when := f.ifVersion()
	conn := f.writes()
	return &Command{
		Synopsis: "Set configuration variables",
		Args:     "NAME=VALUE...",
		Help: `Running instances get the change at once; what they do with it is the app's policy ("waypoint config policy"). All variables of one command change together or not at all.

NAME=@FILE takes the value from a file and NAME=@- from standard input, without one line end at the end; NAME=@@x is the text "@x". With -file the value is the content of a file that the instances write, exactly as it is, instead of a variable of their environment; set again without -file it goes back there.

` + scopeHelp,
		Examples: `waypoint config set GREETING=hello DEBUG=1
			waypoint config set -app=web -workspace=staging DATABASE_URL=@url.txt
			waypoint config set -file=/etc/app/key.pem -mode=0640 -owner=app:app TLS_KEY=@key.pem
			waypoint config set -if-version=3 LIMIT=20`,
		Flags: f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if len(args) == 0 {
				return usagef("NAME=VALUE is missing")
			}
			file, err := where.resolve(args)
			if err != nil {
				return err
			}
			to, err := who.resolve(env)
			if err != nil {
				return err
			}
			request := &configpb.SetRequest{}
			for _, arg := range args {
				change, err := readChange(env, arg, file)
				if err != nil {
					return err
				}
				change.Scope = to
				when.apply(change)
				request.Changes = append(request.Changes, change)
			}
			return changeConfig(ctx, env, conn, request)
		},
	}
}

// readChange sets the variable of an argument NAME=VALUE.
func readChange(env *Env, arg string, file *configpb.File) (*configpb.Change, error) {
	name, text, ok := strings.Cut(arg, "=")
	if !ok || name == "" {
		return nil, usagef("%q is not NAME=VALUE", arg)
	}
	read := readValue
	if file != nil {
		read = readContent
	}
	value, err := read(env, text)
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", name, err)
	}
	if !utf8.ValidString(value) {
		return nil, errs.New(errs.Invalid, "set %s: the value is not UTF-8 text: encode it, for example with base64", name)
	}
	return &configpb.Change{Name: name, Value: value, Origin: configpb.Origin_ORIGIN_SET, File: file}, nil
}

func configDeleteCommand() *Command {
	f := newFlags()
	who := f.configScope()
	when := f.ifVersion()
	conn := f.writes()
	return &Command{
		Synopsis: "Delete configuration variables",
		Args:     "NAME...",
		Help:     scopeHelp + ` Deleting a variable in one scope leaves its value of a wider one.`,
		Examples: `waypoint config delete GREETING
			waypoint config delete -global -if-version=1 HTTP_PROXY`,
		Flags: f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if len(args) == 0 {
				return usagef("NAME is missing")
			}
			to, err := who.resolve(env)
			if err != nil {
				return err
			}
			request := &configpb.SetRequest{}
			for _, name := range args {
				change := &configpb.Change{Scope: to, Name: name, Delete: true, Origin: configpb.Origin_ORIGIN_SET}
				when.apply(change)
				request.Changes = append(request.Changes, change)
			}
			return changeConfig(ctx, env, conn, request)
		},
	}
}

func changeConfig(ctx context.Context, env *Env, conn *connection, request *configpb.SetRequest) error {
	return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
		api := configpb.NewConfigClient(cc)
		were, err := toDelete(ctx, api, request)
		if err != nil {
			return err
		}
		reply, err := api.Set(ctx, request)
		if err != nil {
			return fmt.Errorf("change %s: %w", changedNames(request), err)
		}
		return conn.show(env, reply, func(w io.Writer) error {
			for _, v := range reply.GetVariables() {
				where := ""
				if v.GetFile() != nil {
					where = ", as the file " + v.GetFile().GetPath()
				}
				if _, err := fmt.Fprintf(w, "%s is set for %s%s (version %d)\n", v.GetName(), scopeWords(v.GetScope()), where, v.GetVersion()); err != nil {
					return err
				}
			}
			for _, change := range request.GetChanges() {
				if !change.GetDelete() {
					continue
				}
				word := "is deleted for"
				if !were[change.GetName()] {
					word = "was not set for"
				}
				if _, err := fmt.Fprintf(w, "%s %s %s\n", change.GetName(), word, scopeWords(change.GetScope())); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// toDelete returns which of the variables to delete there are, so that a
// mistyped name does not look done.
func toDelete(ctx context.Context, api configpb.ConfigClient, request *configpb.SetRequest) (map[string]bool, error) {
	were := map[string]bool{}
	for _, change := range request.GetChanges() {
		if !change.GetDelete() {
			continue
		}
		reply, err := api.Get(ctx, &configpb.GetRequest{Scope: change.GetScope(), Name: change.GetName(), Exact: true})
		if err != nil {
			return nil, fmt.Errorf("delete %s: %w", change.GetName(), err)
		}
		were[change.GetName()] = len(reply.GetVariables()) > 0
	}
	return were, nil
}

func changedNames(request *configpb.SetRequest) string {
	names := make([]string, len(request.GetChanges()))
	for i, change := range request.GetChanges() {
		names[i] = change.GetName()
	}
	return strings.Join(names, ", ")
}

// scopeWords tells people whom a variable is for.
func scopeWords(s *configpb.Scope) string {
	words := "all projects"
	if s.GetProject() != "" {
		words = appPath(&deploymentpb.AppRef{Project: s.GetProject(), App: s.GetApp()})
	}
	if s.GetWorkspace() != "" {
		words += " in " + s.GetWorkspace()
	}
	return words
}

func configGetCommand() *Command {
	f := newFlags()
	who := f.configScope()
	var effective, exact bool
	f.Bool(&effective, "effective", "show what an instance of -app in -workspace (default: \"default\") sees: one value per name")
	f.Bool(&exact, "exact", "show only variables of exactly this scope, not the wider ones that apply to it")
	conn := f.reads()
	return &Command{
		Synopsis: "Show configuration variables with their values",
		Args:     "[NAME]",
		Help: scopeHelp + `

What goes to a file is shown by its size if it does not fit on a line; -json shows all of it.`,
		Examples: `waypoint config get
			waypoint config get -app=web -effective
			waypoint config get -global -json HTTP_PROXY`,
		Flags:   f,
		Predict: complete.PredictNothing,
		Run: func(ctx context.Context, env *Env, args []string) error {
			name := ""
			if len(args) > 0 {
				var err error
				if name, err = oneArg(args, "NAME"); err != nil {
					return err
				}
			}
			request := &configpb.GetRequest{Name: name, Effective: effective, Exact: exact}
			var err error
			if request.Scope, err = who.read(env, effective); err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := configpb.NewConfigClient(cc).Get(ctx, request)
				if err != nil {
					return fmt.Errorf("get configuration of %s: %w", scopeWords(request.GetScope()), err)
				}
				return conn.show(env, reply, orHint(variableTable(env, reply.GetVariables()), "No variable is set for "+scopeWords(request.GetScope())+"; \"waypoint config set NAME=VALUE\" sets one."))
			})
		},
	}
}

// read is the scope to read: for effective values, one app in one workspace.
func (c *configScope) read(env *Env, effective bool) (*configpb.Scope, error) {
	if !effective {
		return c.resolve(env)
	}
	if c.global {
		return nil, usagef("-effective is about one app: it does not go with -global")
	}
	at, err := c.scope.target(env)
	if err != nil {
		return nil, err
	}
	ref, err := at.oneApp()
	if err != nil {
		return nil, err
	}
	return &configpb.Scope{Project: ref.GetProject(), App: ref.GetApp(), Workspace: ref.GetWorkspace()}, nil
}

func variableTable(env *Env, variables []*configpb.Variable) *output.Table {
	table := output.NewTable("NAME", "VALUE", "GOES TO", "FOR", "FROM", "VERSION", "CHANGED")
	for _, v := range variables {
		from := "set"
		if v.GetOrigin() == configpb.Origin_ORIGIN_FILE {
			from = config.FileName
		}
		table.Row(v.GetName(), valueWords(v), placeWords(v.GetFile()), scopeWords(v.GetScope()), from, fmt.Sprint(v.GetVersion()), output.Ago(env.Now(), v.GetUpdatedAt()))
	}
	return table
}
