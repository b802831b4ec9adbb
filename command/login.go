package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/posener/complete"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/command/contexts"
	"waypoint/errs"
)

const defaultContext = "default"

func loginCommand() *Command {
	f := newFlags()
	var addr, ca, token, name string
	f.String(&addr, "addr", "", complete.PredictAnything, "`addresses` of servers, host:port with commas between them; name several, so that one may fail")
	f.String(&ca, "ca", "", complete.PredictFiles("*"), "the cluster's certificate authority: sha256:`fingerprint`, or @file of PEM")
	f.String(&token, "token", "", complete.PredictAnything, "user `token`; @file reads it from a file. Without this flag it is asked for on a terminal, and read from standard input elsewhere")
	f.String(&name, "context", "", predictContexts(), "`name` of the context to make or replace; default: \"default\", or without -addr and -ca the selected one")
	return &Command{
		Synopsis: "Log in to a cluster and remember it as a context",
		Help: `The first node of a cluster prints the values for this command at its start. The token is tried, then kept with the addresses in a file that only you may read, and the context becomes the default.

The other servers that the cluster names are remembered too. After you have added nodes, "waypoint login" alone logs in to the selected context again and remembers them; with -token it gives the context another token.`,
		Examples: `waypoint login
			waypoint login -addr=10.0.0.1:9701,10.0.0.2:9701 -ca=sha256:4f6c...
			waypoint login -addr=10.0.0.1:9701 -ca=sha256:4f6c... -context=staging <token.txt`,
		Flags: f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			t, again, err := loginTarget(env, addr, ca, token, name)
			if err != nil {
				return err
			}
			if name == "" {
				name = cmp.Or(again, defaultContext)
			}
			return login(ctx, env, t, name)
		},
	}
}

// loginTarget is whom to log in to. Who names neither addresses nor authority
// means those of a context, whose name it returns.
func loginTarget(env *Env, addr, ca, token, name string) (t Target, again string, err error) {
	t = Target{Addrs: splitList(addr), CA: ca, Token: token}
	t.fill(Target{
		Addrs: splitList(env.Getenv("WAYPOINT_SERVER_ADDR")),
		CA:    env.Getenv("WAYPOINT_SERVER_CA"),
		Token: env.Getenv("WAYPOINT_SERVER_TOKEN"),
	})
	if len(t.Addrs) == 0 && t.CA == "" {
		var saved Target
		if saved, again, err = savedContext(env, name); err != nil && !errs.Is(err, errs.NotFound) {
			return t, "", err
		}
		t.fill(saved)
	}
	if len(t.Addrs) == 0 {
		return t, "", usagef("-addr is missing: the addresses of one or more servers")
	}
	if t.CA == "" {
		return t, "", usagef("-ca is missing: the first node prints it at its start")
	}
	if t.CA, err = readValue(env, t.CA); err != nil {
		return t, "", err
	}
	if t.Token, err = readValue(env, t.Token); err == nil && t.Token == "" {
		t.Token, err = askToken(env)
	}
	return t, again, err
}

// askToken gets the token without showing it.
func askToken(env *Env) (string, error) {
	var text string
	if env.Terminal.Is(env.Stdin) {
		fmt.Fprint(env.Stderr, "Token: ")
		secret, err := env.Terminal.ReadSecret(env.Stdin)
		fmt.Fprintln(env.Stderr)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		text = secret
	} else {
		raw, err := io.ReadAll(io.LimitReader(env.Stdin, 64<<10))
		if err != nil {
			return "", fmt.Errorf("read the token from standard input: %w", err)
		}
		text = string(raw)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", usagef("the token is missing: give -token, or type it, or send it to standard input")
	}
	return text, nil
}

func login(ctx context.Context, env *Env, t Target, name string) error {
	store, err := contexts.New(env.Getenv)
	if err != nil {
		return err
	}
	if err := contexts.CheckName(name); err != nil {
		return usagef("%v", err)
	}
	cc, err := env.connect(t)
	if err != nil {
		return err
	}
	defer cc.Close()
	who, err := authpb.NewAuthClient(cc).WhoAmI(ctx, &authpb.WhoAmIRequest{})
	if errs.Is(err, errs.Unauthenticated) {
		return errs.New(errs.PermissionDenied, "log in: the cluster does not accept this token: %w", err)
	}
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	learnServers(ctx, cc, &t)
	if err := store.Put(name, &contexts.Context{Addrs: t.Addrs, CA: t.CA, Token: t.Token}); err != nil {
		return err
	}
	if err := store.Use(name); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "Logged in as %s. Context %q is selected: %s\n", describeCaller(who), name, strings.Join(t.Addrs, ", "))
	return nil
}

// learnServers adds the members that the cluster names to the configured
// addresses. A cluster that cannot say is no reason not to log in.
func learnServers(ctx context.Context, cc Conn, t *Target) {
	reply, err := clusterpb.NewClusterClient(cc).Servers(ctx, &clusterpb.ServersRequest{})
	if err != nil {
		return
	}
	for _, addr := range reply.GetAddrs() {
		if !slices.Contains(t.Addrs, addr) {
			t.Addrs = append(t.Addrs, addr)
		}
	}
}

func describeCaller(who *authpb.WhoAmIResponse) string {
	if who.GetSubject() == "" {
		return who.GetKind() + " " + who.GetTokenId()
	}
	return who.GetKind() + " " + who.GetSubject()
}
