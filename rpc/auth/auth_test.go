package auth_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/auth"
	"waypoint/rpc/rpctest"
)

func start(t *testing.T) (*rpctest.Fixture, *rpctest.Server, authpb.AuthClient) {
	f := rpctest.New(t)
	server := f.Serve(auth.New(auth.Config{Reader: f.Reader(), Applier: f, TokenKey: f.TokenKey}))
	return f, server, authpb.NewAuthClient(server.Dial(f.User))
}

func mustBe(t *testing.T, err error, kind errs.Kind, word string) {
	t.Helper()
	if !errs.Is(err, kind) || !strings.Contains(err.Error(), word) {
		t.Errorf("error %v, want kind %v and the word %q", err, kind, word)
	}
}

func TestMadeTokenWorksUntilItIsRevoked(t *testing.T) {
	f, server, client := start(t)
	made, err := client.CreateToken(t.Context(), &authpb.CreateTokenRequest{Kind: authpb.TokenKind_TOKEN_KIND_RUNNER, Subject: "builder", Description: "host a"})
	if err != nil {
		t.Fatal(err)
	}
	row := made.GetToken()
	if row.GetSubject() != "builder" || row.GetDescription() != "host a" || row.GetCreatedAt() == nil || row.GetExpiresAt() != nil || row.GetCreatedBy() == "" {
		t.Errorf("record %v", row)
	}
	runner := authpb.NewAuthClient(server.Dial(made.GetText()))
	who, err := runner.WhoAmI(t.Context(), &authpb.WhoAmIRequest{})
	if err != nil || who.GetKind() != "runner" || who.GetSubject() != "builder" || who.GetTokenId() != row.GetId() {
		t.Fatalf("who am I: %v %v", who, err)
	}
	revoked, err := client.RevokeToken(t.Context(), &authpb.RevokeTokenRequest{Id: row.GetId()})
	if err != nil || revoked.GetToken().GetRevokedAt() == nil {
		t.Fatalf("revoke: %v %v", revoked, err)
	}
	_, err = runner.WhoAmI(t.Context(), &authpb.WhoAmIRequest{})
	mustBe(t, err, errs.Unauthenticated, "revoked")
	if f.Store.Read().Token(row.GetId()).GetRevokedAt() == nil {
		t.Error("the record is not revoked")
	}
}

func TestRetryGivesTheSameText(t *testing.T) {
	f, _, client := start(t)
	id := ids.At(time.Now().Add(-time.Minute))
	ctx := rpctest.WithRequestID(t.Context(), id)
	req := &authpb.CreateTokenRequest{Kind: authpb.TokenKind_TOKEN_KIND_USER, Subject: "ann", Lifetime: durationpb.New(time.Hour)}
	first, err := client.CreateToken(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	second, err := client.CreateToken(ctx, req)
	if err != nil || second.GetText() != first.GetText() {
		t.Fatalf("second answer %v %v, first %v", second, err, first)
	}
	born, _ := ids.Time(id)
	if want := born.Add(time.Hour).Truncate(time.Second); !first.GetToken().GetExpiresAt().AsTime().Equal(want) {
		t.Errorf("expires %v, want %v", first.GetToken().GetExpiresAt().AsTime(), want)
	}
	if n := len(f.Store.Read().Tokens()); n != 2 {
		t.Errorf("%d tokens, want the bootstrap one and ours", n)
	}
	_, err = client.CreateToken(ctx, &authpb.CreateTokenRequest{Kind: authpb.TokenKind_TOKEN_KIND_USER, Subject: "bob"})
	mustBe(t, err, errs.Conflict, "request")
}

func TestBadTokenRequestsAreRefused(t *testing.T) {
	_, _, client := start(t)
	user := authpb.TokenKind_TOKEN_KIND_USER
	for name, c := range map[string]struct {
		req  *authpb.CreateTokenRequest
		word string
	}{
		"no kind":         {&authpb.CreateTokenRequest{Subject: "a"}, "kind"},
		"entrypoint":      {&authpb.CreateTokenRequest{Subject: "a", Kind: authpb.TokenKind_TOKEN_KIND_ENTRYPOINT}, "deployment"},
		"join":            {&authpb.CreateTokenRequest{Subject: "a", Kind: authpb.TokenKind_TOKEN_KIND_JOIN}, "join-token"},
		"no subject":      {&authpb.CreateTokenRequest{Kind: user}, "subject"},
		"control":         {&authpb.CreateTokenRequest{Kind: user, Subject: "a\x1b[2J"}, "control"},
		"long":            {&authpb.CreateTokenRequest{Kind: user, Subject: strings.Repeat("a", 200)}, "128"},
		"no time":         {&authpb.CreateTokenRequest{Kind: user, Subject: "a", Lifetime: durationpb.New(0)}, "lifetime"},
		"negative":        {&authpb.CreateTokenRequest{Kind: user, Subject: "a", Lifetime: durationpb.New(-time.Hour)}, "lifetime"},
		"for ever so far": {&authpb.CreateTokenRequest{Kind: user, Subject: "a", Lifetime: &durationpb.Duration{Seconds: 1 << 60}}, "lifetime"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.CreateToken(t.Context(), c.req)
			mustBe(t, err, errs.Invalid, c.word)
		})
	}
}

func TestNodeReplacesALostToken(t *testing.T) {
	f, server, _ := start(t)
	client := authpb.NewAuthClient(server.DialNode(ids.New()))
	made, err := client.CreateToken(t.Context(), &authpb.CreateTokenRequest{Kind: authpb.TokenKind_TOKEN_KIND_USER, Subject: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Store.Read().Token(made.GetToken().GetId()).GetCreatedBy(); got != "recover" {
		t.Errorf("created by %q", got)
	}
	if _, err := authpb.NewAuthClient(server.Dial(made.GetText())).ListTokens(t.Context(), &authpb.ListTokensRequest{}); err != nil {
		t.Error(err)
	}
}

func TestListShowsLiveTokensAndNoSecrets(t *testing.T) {
	f, _, client := start(t)
	gone, _ := f.Token(authpb.TokenKind_TOKEN_KIND_USER, "gone")
	f.Revoke(gone.GetId())
	f.Do(&commandpb.Command_TokenCreate{TokenCreate: &commandpb.TokenCreate{
		Token: &authpb.Token{Id: ids.New(), Kind: authpb.TokenKind_TOKEN_KIND_JOIN, JoinSecretHash: []byte("hash")},
	}})
	for all, want := range map[bool]int{false: 2, true: 3} {
		answer, err := client.ListTokens(t.Context(), &authpb.ListTokensRequest{All: all})
		if err != nil || len(answer.GetTokens()) != want {
			t.Fatalf("all %v: %v %v", all, answer, err)
		}
		for _, row := range answer.GetTokens() {
			if len(row.GetJoinSecretHash()) > 0 {
				t.Error("a join secret's hash is shown")
			}
		}
	}
}

func TestRevokingAnUnknownTokenSaysSo(t *testing.T) {
	_, _, client := start(t)
	_, err := client.RevokeToken(t.Context(), &authpb.RevokeTokenRequest{})
	mustBe(t, err, errs.Invalid, "token list")
	_, err = client.RevokeToken(t.Context(), &authpb.RevokeTokenRequest{Id: ids.New()})
	mustBe(t, err, errs.NotFound, "token")
}

func TestWithoutQuorumOnlyStaleListsAreAnswered(t *testing.T) {
	f, _, client := start(t)
	f.OnFresh(func(context.Context) error { return errs.New(errs.Unavailable, "no quorum") })
	_, err := client.ListTokens(t.Context(), &authpb.ListTokensRequest{})
	mustBe(t, err, errs.Unavailable, "quorum")
	if _, err := client.ListTokens(rpctest.WithStale(t.Context()), &authpb.ListTokensRequest{}); err != nil {
		t.Error(err)
	}
}
