package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/posener/complete"

	"waypoint/command/contexts"
	"waypoint/command/output"
	"waypoint/errs"
)

// shownContext is a context as it is printed: without its token.
type shownContext struct {
	Name    string   `json:"name"`
	Default bool     `json:"default"`
	Addrs   []string `json:"addrs"`
	CA      string   `json:"ca"`
	Token   bool     `json:"token"` // whether there is one
	File    string   `json:"file"`
}

func showContext(store *contexts.Store, name string) (*shownContext, error) {
	c, err := store.Get(name)
	if err != nil {
		return nil, err
	}
	selected, err := store.Default()
	if err != nil {
		return nil, err
	}
	return &shownContext{Name: name, Default: name == selected, Addrs: c.Addrs, CA: c.CA, Token: c.Token != "", File: store.Path(name)}, nil
}

func contextListCommand() *Command {
	f := newFlags()
	var asJSON bool
	f.jsonFlag(&asJSON)
	return &Command{
		Synopsis: "List the contexts you have",
		Help:     `The star marks the default, which commands use that are given neither -context nor WAYPOINT_CONTEXT.`,
		Examples: `waypoint context list`,
		Flags:    f,
		Run: func(_ context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			store, err := contexts.New(env.Getenv)
			if err != nil {
				return err
			}
			return listContexts(env, store, asJSON)
		},
	}
}

func listContexts(env *Env, store *contexts.Store, asJSON bool) error {
	names, err := store.Names()
	if err != nil {
		return err
	}
	list := make([]*shownContext, 0, len(names))
	table := output.NewTable("", "NAME", "ADDRESSES", "CA")
	for _, name := range names {
		c, err := showContext(store, name)
		if err != nil {
			// One damaged file must not hide the others.
			fmt.Fprintf(env.Stderr, "Warning: %v\n", err)
			continue
		}
		list = append(list, c)
		mark := " "
		if c.Default {
			mark = "*"
		}
		table.Row(mark, c.Name, strings.Join(c.Addrs, ","), shortCA(c.CA))
	}
	if asJSON {
		return output.Value(env.Stdout, list)
	}
	if table.Len() == 0 {
		_, err := fmt.Fprintln(env.Stdout, "There are no contexts; \"waypoint login\" makes one.")
		return err
	}
	return table.Write(env.Stdout)
}

// shortCA is enough of a fingerprint to compare it by eye.
func shortCA(ca string) string {
	if strings.HasPrefix(ca, "sha256:") {
		if len(ca) > 19 {
			return ca[:19] + "..."
		}
		return ca
	}
	return "PEM"
}

func contextUseCommand() *Command {
	return &Command{
		Synopsis: "Select the default context",
		Args:     "NAME",
		Examples: `waypoint context use staging`,
		Flags:    newFlags(),
		Predict:  predictContexts(),
		Run: func(_ context.Context, env *Env, args []string) error {
			name, err := oneArg(args, "NAME")
			if err != nil {
				return err
			}
			store, err := contexts.New(env.Getenv)
			if err != nil {
				return err
			}
			if err := store.Use(name); err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "Context %q is selected.\n", name)
			return err
		},
	}
}

func contextCreateCommand() *Command {
	f := newFlags()
	var addr, ca, token string
	var replace, use bool
	f.String(&addr, "addr", "", complete.PredictAnything, "`addresses` of servers, host:port with commas between them")
	f.String(&ca, "ca", "", complete.PredictFiles("*"), "the cluster's certificate authority: sha256:`fingerprint`, or @file of PEM")
	f.String(&token, "token", "", complete.PredictAnything, "user `token`; @file reads it from a file, @- from standard input")
	f.Bool(&replace, "replace", "replace a context of that name")
	f.Bool(&use, "use", "select it as the default")
	return &Command{
		Synopsis: "Make a context without asking the cluster",
		Args:     "NAME",
		Help:     `Unlike "waypoint login" this connects to nothing, so it suits scripts that prepare a machine. The first context becomes the default.`,
		Examples: `waypoint context create ci -addr=10.0.0.1:9701 -ca=sha256:4f6c... -token=@token.txt`,
		Flags:    f,
		Run: func(_ context.Context, env *Env, args []string) error {
			name, err := oneArg(args, "NAME")
			if err != nil {
				return err
			}
			if addr == "" || ca == "" {
				return usagef("-addr and -ca are needed")
			}
			c := &contexts.Context{Addrs: splitList(addr)}
			if c.CA, err = readValue(env, ca); err != nil {
				return err
			}
			if c.Token, err = readValue(env, token); err != nil {
				return err
			}
			return createContext(env, name, c, replace, use)
		},
	}
}

func createContext(env *Env, name string, c *contexts.Context, replace, use bool) error {
	store, err := contexts.New(env.Getenv)
	if err != nil {
		return err
	}
	if _, err := store.Get(name); !replace && !errs.Is(err, errs.NotFound) {
		if err != nil {
			return err
		}
		return errs.New(errs.AlreadyExists, "there is a context %q already; -replace replaces it", name)
	}
	if err := store.Put(name, c); err != nil {
		return err
	}
	if use {
		if err := store.Use(name); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(env.Stdout, "Context %q is made.\n", name)
	return err
}

func contextDeleteCommand() *Command {
	return &Command{
		Synopsis: "Forget a context",
		Args:     "NAME",
		Help:     `The token in it stays valid: "waypoint token revoke" ends it.`,
		Examples: `waypoint context delete staging`,
		Flags:    newFlags(),
		Predict:  predictContexts(),
		Run: func(_ context.Context, env *Env, args []string) error {
			name, err := oneArg(args, "NAME")
			if err != nil {
				return err
			}
			store, err := contexts.New(env.Getenv)
			if err != nil {
				return err
			}
			if err := store.Delete(name); err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "Context %q is deleted.\n", name)
			return err
		},
	}
}

func contextInspectCommand() *Command {
	f := newFlags()
	var asJSON bool
	f.jsonFlag(&asJSON)
	return &Command{
		Synopsis: "Show a context, the default one unless named",
		Args:     "[NAME]",
		Help:     `The token itself is not shown; it is in the file that is named.`,
		Examples: `waypoint context inspect staging -json`,
		Flags:    f,
		Predict:  predictContexts(),
		Run: func(_ context.Context, env *Env, args []string) error {
			store, err := contexts.New(env.Getenv)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				name, err := store.Default()
				if err != nil {
					return err
				}
				if name == "" {
					return errs.New(errs.NotFound, "no context is selected; \"waypoint context use NAME\" selects one")
				}
				args = []string{name}
			}
			name, err := oneArg(args, "NAME")
			if err != nil {
				return err
			}
			c, err := showContext(store, name)
			if err != nil {
				return err
			}
			if asJSON {
				return output.Value(env.Stdout, c)
			}
			fields := &output.Fields{}
			fields.Add("Name", c.Name)
			fields.Add("Default", yesNo(c.Default))
			fields.Add("Addresses", strings.Join(c.Addrs, ", "))
			fields.Add("CA", strings.TrimSpace(c.CA))
			fields.Add("Token", yesNo(c.Token))
			fields.Add("File", c.File)
			return fields.Write(env.Stdout, "")
		},
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
