package command

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/posener/complete"
	"google.golang.org/protobuf/types/known/durationpb"

	"waypoint/api/authpb"
	"waypoint/command/output"
)

// newToken holds the flags that describe a token to be made.
type newToken struct {
	kind        string
	subject     string
	description string
	lifetime    time.Duration
}

func (n *newToken) request() (*authpb.CreateTokenRequest, error) {
	kinds := map[string]authpb.TokenKind{"user": authpb.TokenKind_TOKEN_KIND_USER, "runner": authpb.TokenKind_TOKEN_KIND_RUNNER}
	kind, ok := kinds[n.kind]
	if !ok {
		return nil, usagef("-kind=%s: make a token for a user or a runner", n.kind)
	}
	if n.subject == "" {
		return nil, usagef("-subject is missing: the name of the user or the runner that the token is for")
	}
	if n.lifetime < 0 {
		return nil, usagef("-lifetime=%s: a token cannot end before it begins", n.lifetime)
	}
	request := &authpb.CreateTokenRequest{Kind: kind, Subject: n.subject, Description: n.description}
	if n.lifetime > 0 {
		request.Lifetime = durationpb.New(n.lifetime)
	}
	return request, nil
}

func (n *newToken) lifetimeFlag(f *flags) {
	f.Duration(&n.lifetime, "lifetime", 0, "how long it is valid, like 24h; default: until it is revoked (`duration`)")
}

func tokenCreateCommand() *Command {
	f := newFlags()
	var n newToken
	f.String(&n.kind, "kind", "user", complete.PredictSet("user", "runner"), "who will use it (`kind`): user or runner")
	f.String(&n.subject, "subject", "", complete.PredictAnything, "`name` of the user or the runner")
	f.String(&n.description, "description", "", complete.PredictAnything, "a `text` that reminds you what it is for")
	n.lifetimeFlag(f)
	conn := f.writes()
	return &Command{
		Synopsis: "Make a token for a user or a runner",
		Help:     `The token is printed once and cannot be shown again.`,
		Examples: `waypoint token create -subject=alice
			waypoint token create -kind=runner -subject=build-1 -lifetime=720h`,
		Flags: f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			request, err := n.request()
			if err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := authpb.NewAuthClient(cc).CreateToken(ctx, request)
				if err != nil {
					return fmt.Errorf("make a token: %w", err)
				}
				return conn.show(env, reply, func(w io.Writer) error { return showNewToken(w, env, reply) })
			})
		},
	}
}

// showNewToken prints the text alone on standard output, so that it can be
// piped, and what there is to say about it beside it.
func showNewToken(w io.Writer, env *Env, reply *authpb.CreateTokenResponse) error {
	expires := "does not expire"
	if at := reply.GetToken().GetExpiresAt(); at != nil {
		expires = "expires " + output.Ago(env.Now(), at)
	}
	fmt.Fprintf(env.Stderr, "Token %s %s. Its text is shown this once:\n", reply.GetToken().GetId(), expires)
	_, err := fmt.Fprintln(w, reply.GetText())
	return err
}

func tokenListCommand() *Command {
	f := newFlags()
	var all bool
	f.Bool(&all, "all", "show revoked and expired tokens too")
	conn := f.reads()
	return &Command{
		Synopsis: "List tokens",
		Help:     `The texts of tokens are stored nowhere, so they cannot be listed.`,
		Examples: `waypoint token list -all`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := authpb.NewAuthClient(cc).ListTokens(ctx, &authpb.ListTokensRequest{All: all})
				if err != nil {
					return fmt.Errorf("list tokens: %w", err)
				}
				table := output.NewTable("ID", "KIND", "SUBJECT", "STATE", "CREATED", "DESCRIPTION")
				for _, t := range reply.GetTokens() {
					table.Row(t.GetId(), output.Enum(t.GetKind(), "TOKEN_KIND_"), t.GetSubject(), tokenState(env.Now(), t), output.Ago(env.Now(), t.GetCreatedAt()), t.GetDescription())
				}
				return conn.show(env, reply, orHint(table, "There are no valid tokens; \"-all\" shows revoked and expired ones."))
			})
		},
	}
}

func tokenState(now time.Time, t *authpb.Token) string {
	switch {
	case t.GetRevokedAt() != nil:
		return "revoked"
	case t.GetJoinUsedAt() != nil:
		return "used"
	case t.GetExpiresAt() == nil:
		return "valid"
	case now.After(t.GetExpiresAt().AsTime()):
		return "expired"
	default:
		return "valid, ends " + output.Ago(now, t.GetExpiresAt())
	}
}

func tokenRevokeCommand() *Command {
	f := newFlags()
	conn := f.writes()
	return &Command{
		Synopsis: "Revoke a token",
		Args:     "ID",
		Help:     `Nobody gets in with it any more, and what is connected with it is cut off. This cannot be undone.`,
		Examples: `waypoint token revoke 01J9ZQ6V8N0000000000000000`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			id, err := oneArg(args, "the token's ID")
			if err != nil {
				return err
			}
			if strings.HasPrefix(id, "wp1_") {
				return usagef("that is a token's text; revoke it by the ID that \"waypoint token list\" shows")
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := authpb.NewAuthClient(cc).RevokeToken(ctx, &authpb.RevokeTokenRequest{Id: id})
				if err != nil {
					return fmt.Errorf("revoke token %s: %w", id, err)
				}
				return conn.show(env, reply, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "Token %s is revoked.\n", id)
					return err
				})
			})
		},
	}
}
