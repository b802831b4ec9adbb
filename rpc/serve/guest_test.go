package serve_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"waypoint/api/authpb"
	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/internal/wait"
	"waypoint/rpc/rpctest"
	"waypoint/rpc/serve"
)

// visitors are credentials whose connections count what is said of them.
type visitors struct {
	credentials.TransportCredentials
	known, entered, left atomic.Int32
	full                 atomic.Bool
}

type visitor struct {
	credentials.TLSInfo
	v *visitors
}

func (v *visitors) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, info, err := v.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		return nil, nil, err
	}
	return secure, visitor{info.(credentials.TLSInfo), v}, nil
}

func (v visitor) ConnectionState() tls.ConnectionState { return v.State }
func (v visitor) Known()                               { v.v.known.Add(1) }

func (v visitor) IsKnown() bool { return false }

func (v visitor) Enter() (func(), bool) {
	v.v.entered.Add(1)
	return func() { v.v.left.Add(1) }, !v.v.full.Load()
}

func serveVisitors(t *testing.T) (*rpctest.Fixture, *rpctest.Server, *visitors) {
	f := rpctest.New(t)
	v := &visitors{}
	server := f.ServeWith(func(cfg *serve.Config) {
		v.TransportCredentials = cfg.Credentials
		cfg.Credentials = v
	}, &project{list: func(context.Context) error { return nil }}, versions{})
	return f, server, v
}

// versions is a service whose one method needs no token.
type versions struct {
	versionpb.UnimplementedVersionServer
}

func (v versions) Register(r grpc.ServiceRegistrar) { versionpb.RegisterVersionServer(r, v) }

func getVersion(t *testing.T, conn grpc.ClientConnInterface) {
	t.Helper()
	if _, err := versionpb.NewVersionClient(conn).Get(t.Context(), &versionpb.GetRequest{}); !errs.Is(errs.FromStatus(err), errs.Unimplemented) {
		t.Errorf("version: %v", err)
	}
}

func TestOnlyAValidTokenMakesAConnectionKnown(t *testing.T) {
	f, server, v := serveVisitors(t)
	row, revoked := f.Token(authpb.TokenKind_TOKEN_KIND_USER, "x")
	f.Revoke(row.GetId())
	for name, text := range map[string]string{
		"none": "", "garbage": "garbage", "another cluster's": rpctest.New(t).User, "revoked": revoked,
	} {
		conn := server.Dial(text)
		if _, _, err := list(t, conn); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("token %s: %v", name, err)
		}
		getVersion(t, conn)
		if v.known.Load() != 0 {
			t.Fatalf("token %s: the connection is known", name)
		}
	}
	if _, _, err := list(t, server.Dial(f.User)); err != nil || v.known.Load() == 0 {
		t.Errorf("a user's call: %v, known %d", err, v.known.Load())
	}
	v.known.Store(0)
	// A client's first call needs no token, and those after it come in numbers.
	if getVersion(t, server.Dial(f.User)); v.known.Load() == 0 {
		t.Error("a user's first call does not make the connection known")
	}
}

func TestEachCallIsCountedFromItsBeginningToItsEnd(t *testing.T) {
	f, server, v := serveVisitors(t)
	conn := server.Dial(f.User)
	for range 3 {
		if _, _, err := list(t, conn); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	wait.For(t, 10*time.Second, "the calls' ends", func() bool { return v.left.Load() == v.entered.Load() })
	if v.entered.Load() != 3 {
		t.Errorf("%d calls are counted", v.entered.Load())
	}
	v.full.Store(true)
	if _, _, err := list(t, server.Dial(f.User)); !errs.Is(err, errs.Exhausted) {
		t.Errorf("got %v", err)
	}
}

func TestClientsWithATokenDoNotConnectToANodeThatCannotCheckIt(t *testing.T) {
	f := rpctest.New(t)
	server := f.ServeWith(func(cfg *serve.Config) {
		cfg.TokenKey = func() ([]byte, error) { return nil, errs.New(errs.Unavailable, "the log is being read") }
	}, rpctest.Everything{})
	for token, refused := range map[string]bool{f.User: true, "": false} {
		_, err := versionpb.NewVersionClient(server.Dial(token)).Get(t.Context(), &versionpb.GetRequest{})
		if errs.Is(errs.FromStatus(err), errs.Unavailable) != refused {
			t.Errorf("with token %q a client's first call is answered with %v", token, err)
		}
	}
}
