package serve_test

import (
	"crypto/rand"
	"testing"
	"time"

	"waypoint/api/authpb"
	_ "waypoint/api/clusterpb"
	_ "waypoint/api/configpb"
	_ "waypoint/api/deploymentpb"
	_ "waypoint/api/entrypointpb"
	_ "waypoint/api/execpb"
	_ "waypoint/api/jobpb"
	_ "waypoint/api/logspb"
	_ "waypoint/api/nodepb"
	"waypoint/api/policypb"
	_ "waypoint/api/projectpb"
	_ "waypoint/api/runnerpb"
	_ "waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/token"
	"waypoint/rpc/rpctest"
	"waypoint/rpc/serve"
)

// Every method of every service with every kind of credentials: what the policy
// says is what happens.
func TestAccess(t *testing.T) {
	f := rpctest.New(t)
	expiry := time.Now().Add(time.Hour)
	server := f.ServeWith(func(cfg *serve.Config) {
		cfg.Now = func() time.Time { return expiry } // an hour token has just expired
	}, rpctest.Everything{})
	methods := rpctest.Methods(server.GetServiceInfo())
	if len(rpctest.Own(methods)) < 49 {
		t.Fatalf("only %d methods are registered: a service is missing", len(rpctest.Own(methods)))
	}
	rpctest.Access(t, methods, callers(f, server, expiry))
}

func callers(f *rpctest.Fixture, server *rpctest.Server, expired time.Time) []rpctest.Caller {
	const none = policypb.Caller_CALLER_UNSPECIFIED
	list := []rpctest.Caller{
		{Name: "nobody", Conn: server.Dial(""), Kind: policypb.Caller_CALLER_ANONYMOUS},
		{Name: "the bootstrap user", Conn: server.Dial(f.User), Kind: policypb.Caller_CALLER_USER},
		{Name: "a node", Conn: server.DialNode(ids.New()), Kind: policypb.Caller_CALLER_NODE},
		{Name: "a node that is not listed", Conn: server.DialCertificate(ids.New()), Kind: policypb.Caller_CALLER_ANONYMOUS},
		{Name: "garbage", Conn: server.Dial("garbage"), Kind: none},
		{Name: "another cluster's token", Conn: server.Dial(rpctest.New(f.TB()).User), Kind: none},
	}
	for name, kind := range map[string]struct {
		token  authpb.TokenKind
		caller policypb.Caller
	}{
		"user":       {authpb.TokenKind_TOKEN_KIND_USER, policypb.Caller_CALLER_USER},
		"runner":     {authpb.TokenKind_TOKEN_KIND_RUNNER, policypb.Caller_CALLER_RUNNER},
		"entrypoint": {authpb.TokenKind_TOKEN_KIND_ENTRYPOINT, policypb.Caller_CALLER_ENTRYPOINT},
		"join":       {authpb.TokenKind_TOKEN_KIND_JOIN, none},
	} {
		_, valid := f.Token(kind.token, ids.New())
		row, revoked := f.Token(kind.token, ids.New())
		f.Revoke(row.GetId())
		_, old := f.TokenUntil(kind.token, ids.New(), expired)
		list = append(list,
			rpctest.Caller{Name: name, Conn: server.Dial(valid), Kind: kind.caller},
			rpctest.Caller{Name: "revoked " + name, Conn: server.Dial(revoked), Kind: none},
			rpctest.Caller{Name: "expired " + name, Conn: server.Dial(old), Kind: none},
			rpctest.Caller{Name: "unknown " + name, Conn: server.Dial(signed(f, kind.token, ids.New(), f.ClusterID)), Kind: none},
			rpctest.Caller{Name: "same key, other cluster " + name, Conn: server.Dial(signed(f, kind.token, row.GetId(), ids.New())), Kind: none},
		)
	}
	return list
}

// signed returns a well-signed token that no record stands behind.
func signed(f *rpctest.Fixture, kind authpb.TokenKind, id, cluster string) string {
	key, _ := f.TokenKey()
	return token.Sign(key, &authpb.SignedToken{ClusterId: cluster, Id: id, Kind: kind, Subject: "x"})
}

func TestTokenWhoseTextDoesNotMatchItsRecordIsRefused(t *testing.T) {
	f := rpctest.New(t)
	server := f.Serve(rpctest.Everything{})
	row, _ := f.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "builder")
	promoted := signed(f, authpb.TokenKind_TOKEN_KIND_USER, row.GetId(), f.ClusterID)
	if err := rpctest.Call(t.Context(), server.Dial(promoted), "/waypoint.auth.Auth/ListTokens"); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("a runner's token signed as a user's: %v", err)
	}
}

func TestTokenOfAnotherKeyIsRefused(t *testing.T) {
	f := rpctest.New(t)
	server := f.Serve(rpctest.Everything{})
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	row, _ := f.Token(authpb.TokenKind_TOKEN_KIND_USER, "x")
	forged := token.Sign(key, &authpb.SignedToken{ClusterId: f.ClusterID, Id: row.GetId(), Kind: row.GetKind(), Subject: "x"})
	if err := rpctest.Call(t.Context(), server.Dial(forged), "/waypoint.auth.Auth/ListTokens"); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("forged token: %v", err)
	}
}
