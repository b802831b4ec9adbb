package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/posener/complete"
	"google.golang.org/protobuf/proto"

	"waypoint/client"
	"waypoint/command/contexts"
	"waypoint/command/output"
	"waypoint/errs"
)

// Target says which cluster to talk to and as whom.
type Target struct {
	Addrs []string
	CA    string
	Token string
}

// connection holds the flags of a command that talks to a cluster.
type connection struct {
	context string
	addr    string
	ca      string
	token   string
	timeout time.Duration
	stale   bool
	json    bool

	tokenFrom string // where target has found the token, for people
}

// talks adds the flags that every command has that talks to a cluster.
func (f *flags) talks() *connection {
	c := &connection{}
	own := f.group
	f.group = "Connection flags"
	f.String(&c.context, "context", "", predictContexts(), "use the context of this `name` and no WAYPOINT_SERVER_ variables")
	f.String(&c.addr, "addr", "", complete.PredictAnything, "`addresses` of servers, host:port with commas between them")
	f.String(&c.ca, "ca", "", complete.PredictFiles("*"), "the cluster's certificate authority: sha256:`fingerprint`, or @file of PEM")
	f.String(&c.token, "token", "", complete.PredictAnything, "user `token`; @file reads it from a file")
	f.Duration(&c.timeout, "timeout", 0, "how long a call may take, like 10s; 0: 15s for a call, no limit for a stream (`duration`)")
	f.group = own
	return c
}

// reads adds -stale and -json to the flags of a connection.
func (f *flags) reads() *connection {
	c := f.talks()
	f.Bool(&c.stale, "stale", "accept an answer that may be a little old; works without a leader")
	f.jsonFlag(&c.json)
	return c
}

// writes adds -json to the flags of a connection.
func (f *flags) writes() *connection {
	c := f.talks()
	f.jsonFlag(&c.json)
	return c
}

func (f *flags) jsonFlag(p *bool) {
	f.Bool(p, "json", "print the answer as JSON")
}

// target works out whom to talk to: flags, then (without -context)
// environment, then the context.
func (c *connection) target(env *Env) (Target, error) {
	t := Target{Addrs: splitList(c.addr), CA: c.ca, Token: c.token}
	c.tokenFrom = "is that of -token"
	name := c.context
	if name == "" {
		t.fill(Target{
			Addrs: splitList(env.Getenv("WAYPOINT_SERVER_ADDR")),
			CA:    env.Getenv("WAYPOINT_SERVER_CA"),
			Token: env.Getenv("WAYPOINT_SERVER_TOKEN"),
		})
		name = env.Getenv("WAYPOINT_CONTEXT")
	}
	if c.token == "" {
		c.tokenFrom = "is that of WAYPOINT_SERVER_TOKEN"
	}
	if len(t.Addrs) == 0 || t.CA == "" || t.Token == "" {
		saved, name, err := savedContext(env, name)
		if err != nil {
			return Target{}, err
		}
		if t.Token == "" {
			c.tokenFrom = fmt.Sprintf("is that of context %q; \"waypoint login -token=...\" replaces it", name)
		}
		t.fill(saved)
	}
	if t.Token == "" {
		c.tokenFrom = "is missing: give -token or set WAYPOINT_SERVER_TOKEN, or use \"waypoint login\""
	}
	var err error
	if t.CA, err = readValue(env, t.CA); err != nil {
		return Target{}, err
	}
	if t.Token, err = readValue(env, t.Token); err != nil {
		return Target{}, err
	}
	switch {
	case len(t.Addrs) == 0:
		return Target{}, errs.New(errs.Invalid, "no cluster is known: make a context with \"waypoint login -addr=HOST:9701 -ca=sha256:...\", or set WAYPOINT_SERVER_ADDR, WAYPOINT_SERVER_CA and WAYPOINT_SERVER_TOKEN")
	case t.CA == "":
		return Target{}, errs.New(errs.Invalid, "the cluster's certificate authority is not known: give -ca=sha256:..., or set WAYPOINT_SERVER_CA; the first node prints it at its start")
	}
	return t, nil
}

func (t *Target) fill(from Target) {
	if len(t.Addrs) == 0 {
		t.Addrs = from.Addrs
	}
	if t.CA == "" {
		t.CA = from.CA
	}
	if t.Token == "" {
		t.Token = from.Token
	}
}

// savedContext is the named context, or the default one, or nothing; and its
// name.
func savedContext(env *Env, name string) (Target, string, error) {
	store, err := contexts.New(env.Getenv)
	if err != nil {
		if name == "" {
			return Target{}, "", nil
		}
		return Target{}, "", err
	}
	if name == "" {
		if name, err = store.Default(); err != nil || name == "" {
			return Target{}, "", err
		}
	}
	saved, err := store.Get(name)
	if err != nil {
		return Target{}, "", err
	}
	return Target{Addrs: saved.Addrs, CA: saved.CA, Token: saved.Token}, name, nil
}

// dial connects. The caller closes the connection.
func (c *connection) dial(env *Env) (Conn, error) {
	t, err := c.target(env)
	if err != nil {
		return nil, err
	}
	return env.connect(t)
}

// calls runs fn with a connection and a context that carries -timeout and
// -stale.
func (c *connection) calls(ctx context.Context, env *Env, fn func(ctx context.Context, cc Conn) error) error {
	cc, err := c.dial(env)
	if err != nil {
		return err
	}
	ctx, cancel := c.callContext(ctx)
	defer cancel()
	defer cc.Close()
	err = fn(ctx, cc)
	if errs.Is(err, errs.Unauthenticated) && cc.Current() != "" { // else it is the server that was not accepted
		return fmt.Errorf("%w (the token %s)", err, c.tokenFrom)
	}
	return err
}

func (c *connection) callContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.stale {
		ctx = client.WithStale(ctx)
	}
	if c.timeout > 0 {
		return context.WithTimeout(ctx, c.timeout)
	}
	return context.WithCancel(ctx)
}

// show prints a reply: as JSON when asked, else with the given function.
func (c *connection) show(env *Env, reply proto.Message, human func(w io.Writer) error) error {
	if c.json {
		return output.Message(env.Stdout, reply)
	}
	return human(env.Stdout)
}

func splitList(text string) []string {
	var list []string
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// readValue is readContent without one line end at its end, unless it is the
// text itself.
func readValue(env *Env, text string) (string, error) {
	content, err := readContent(env, text)
	if err != nil || !isFile(text) {
		return content, err
	}
	return strings.TrimSuffix(strings.TrimSuffix(content, "\n"), "\r"), nil
}

// readContent is the text itself, or the content of a file for "@file" ("@-" is
// standard input). "@@x" is the text "@x".
func readContent(env *Env, text string) (string, error) {
	name := strings.TrimPrefix(text, "@")
	if !isFile(text) {
		return name, nil
	}
	var raw []byte
	var err error
	if name == "-" {
		raw, err = io.ReadAll(env.Stdin)
	} else {
		raw, err = os.ReadFile(env.path(name))
	}
	if err != nil {
		return "", errs.New(errs.Invalid, "read the value from %s: %w", name, err)
	}
	return string(raw), nil
}

func isFile(text string) bool { return strings.HasPrefix(text, "@") && !strings.HasPrefix(text, "@@") }

func predictContexts() complete.Predictor {
	return complete.PredictFunc(func(complete.Args) []string {
		store, err := contexts.New(os.Getenv)
		if err != nil {
			return nil
		}
		names, err := store.Names()
		if err != nil {
			return nil
		}
		return names
	})
}
