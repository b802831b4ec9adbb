package serve_test

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/policypb"
	"waypoint/api/projectpb"
	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/protocol"
	"waypoint/rpc/call"
	"waypoint/rpc/rpctest"
	"waypoint/rpc/serve"
)

const (
	unaryMethod  = "/test.Service/Unary"
	streamMethod = "/test.Service/Stream"
)

// project is a ProjectService whose one method does what a test wants.
type project struct {
	projectpb.UnimplementedProjectServiceServer
	list func(context.Context) error
}

func (p *project) Register(r grpc.ServiceRegistrar) { projectpb.RegisterProjectServiceServer(r, p) }

func (p *project) ListProjects(ctx context.Context, _ *projectpb.ListProjectsRequest) (*projectpb.ListProjectsResponse, error) {
	return &projectpb.ListProjectsResponse{}, p.list(ctx)
}

// list calls that method with extra headers, given as pairs.
func list(t *testing.T, conn grpc.ClientConnInterface, pairs ...string) (header, trailer metadata.MD, err error) {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), pairs...)
	_, err = projectpb.NewProjectServiceClient(conn).ListProjects(ctx, &projectpb.ListProjectsRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
	return header, trailer, err
}

func mustBe(t *testing.T, err error, kind errs.Kind, words ...string) {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Fatalf("error %v, want kind %v", err, kind)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}

func TestHandlerLearnsWhoCalls(t *testing.T) {
	f := rpctest.New(t)
	var got *call.Info
	server := f.Serve(&project{list: func(ctx context.Context) error { got = call.From(ctx); return nil }})
	row, text := f.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "builder")
	id := ids.New()
	if _, _, err := list(t, server.Dial(text), protocol.HeaderRequestID, id, protocol.HeaderStale, "1"); err != nil {
		t.Fatal(err)
	}
	if got.Caller != policypb.Caller_CALLER_RUNNER || got.TokenID != row.GetId() || got.Subject != "builder" || got.RequestID != id || !got.Stale {
		t.Errorf("the handler saw %v %q %q %q %v", got.Caller, got.TokenID, got.Subject, got.RequestID, got.Stale)
	}
	if protocol.EncodeRanges(got.Ranges) != protocol.EncodeRanges(protocol.Current()) {
		t.Errorf("ranges %v", got.Ranges)
	}
}

func TestMissingRequestIDIsMade(t *testing.T) {
	f := rpctest.New(t)
	var got string
	server := f.Serve(&project{list: func(ctx context.Context) error { got = call.From(ctx).RequestID; return nil }})
	if _, _, err := list(t, server.Dial(f.User)); err != nil {
		t.Fatal(err)
	}
	if _, err := ids.Time(got); err != nil {
		t.Errorf("made request id %q: %v", got, err)
	}
}

func TestBadHeadersAreRefused(t *testing.T) {
	f := rpctest.New(t)
	server := f.Serve(&project{list: func(context.Context) error { return nil }})
	bearer := "Bearer " + f.User
	for name, c := range map[string]struct {
		pairs []string
		kind  errs.Kind
		word  string
	}{
		"no ranges":        {[]string{protocol.HeaderAuthorization, bearer}, errs.Invalid, protocol.HeaderRanges},
		"unreadable range": {[]string{protocol.HeaderAuthorization, bearer, protocol.HeaderRanges, "api=x"}, errs.Invalid, protocol.HeaderRanges},
		"too new":          {[]string{protocol.HeaderAuthorization, bearer, protocol.HeaderRanges, "api=8-9"}, errs.Protocol, "upgrade the server"},
		"other protocol":   {[]string{protocol.HeaderAuthorization, bearer, protocol.HeaderRanges, "entrypoint=1-1"}, errs.Protocol, "api"},
		"request id": {[]string{protocol.HeaderAuthorization, bearer, protocol.HeaderRanges, "api=1-9", protocol.HeaderRequestID, "7"},
			errs.Invalid, "ULID"},
		"index": {[]string{protocol.HeaderAuthorization, bearer, protocol.HeaderRanges, "api=1-9", protocol.HeaderIndex, "7"},
			errs.Invalid, protocol.HeaderIndex},
		"no bearer": {[]string{protocol.HeaderAuthorization, f.User, protocol.HeaderRanges, "api=1-9"}, errs.Unauthenticated, "Bearer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := list(t, server.DialBare(), c.pairs...)
			mustBe(t, err, c.kind, c.word)
		})
	}
}

func TestMismatchNamesBothRangesAndTheSideToUpgrade(t *testing.T) {
	f := rpctest.New(t)
	server := f.ServeWith(func(cfg *serve.Config) {
		cfg.Ranges = &versionpb.Ranges{Api: &versionpb.Range{Min: 5, Current: 6}}
	}, &project{list: func(context.Context) error { return nil }})
	_, _, err := list(t, server.DialBare(), protocol.HeaderAuthorization, "Bearer "+f.User, protocol.HeaderRanges, "api=3-4")
	mustBe(t, err, errs.Protocol, "3 to 4", "5 to 6", "upgrade the client")
	detail := errs.ToProto(err).GetProtocol()
	if detail.GetServerMin() != 5 || detail.GetClientCurrent() != 4 || detail.GetUpgrade() != "client" {
		t.Errorf("detail %v", detail)
	}
	if _, _, err := list(t, server.DialBare(), protocol.HeaderAuthorization, "Bearer "+f.User, protocol.HeaderRanges, "api=4-5"); err != nil {
		t.Errorf("overlapping ranges: %v", err)
	}
}

func TestEveryAnswerCarriesTimeAndIndex(t *testing.T) {
	f := rpctest.New(t)
	fail := false
	server := f.Serve(&project{list: func(ctx context.Context) error {
		call.From(ctx).Observe(1000)
		if fail {
			return errs.New(errs.NotFound, "gone")
		}
		return nil
	}})
	conn := server.Dial(f.User)
	for _, fail = range []bool{false, true} {
		header, trailer, err := list(t, conn)
		if (err != nil) != fail {
			t.Fatal(err)
		}
		ms, _ := strconv.ParseInt(strings.Join(header.Get(protocol.HeaderTime), ""), 10, 64)
		if d := time.Since(time.UnixMilli(ms)); d < -time.Second || d > time.Minute {
			t.Errorf("fail %v: time header %v", fail, header)
		}
		epoch, _ := f.Store.Index()
		if got := strings.Join(trailer.Get(protocol.HeaderIndex), ""); got != protocol.EncodeIndex(epoch, 1000) {
			t.Errorf("fail %v: index trailer %q", fail, got)
		}
	}
	header, _, err := list(t, server.DialBare())
	if err == nil || len(header.Get(protocol.HeaderTime)) != 1 {
		t.Errorf("a refused call has header %v", header)
	}
}

func TestTimeIsNeverBeforeTheNewestEntry(t *testing.T) {
	f := rpctest.New(t)
	slow := time.Now().Add(-time.Hour) // the leader that was ahead, seen from a node that is not
	born := ""
	server := f.ServeWith(func(cfg *serve.Config) { cfg.Now = func() time.Time { return slow } },
		&project{list: func(ctx context.Context) error { born = call.From(ctx).RequestID; return nil }})
	header, _, err := list(t, server.Dial(f.User))
	if err != nil {
		t.Fatal(err)
	}
	entry := f.Store.Read().Meta().Time.UnixMilli()
	if got := strings.Join(header.Get(protocol.HeaderTime), ""); got != strconv.FormatInt(entry, 10) {
		t.Errorf("time header %s, entry %d", got, entry)
	}
	if at, err := ids.Time(born); err != nil || at.UnixMilli() != entry {
		t.Errorf("a request id of %v, %v", at, err)
	}
}

func TestCallWaitsForWhatItsCallerHasSeen(t *testing.T) {
	f := rpctest.New(t)
	var entered atomic.Int32
	server := f.Serve(&project{list: func(context.Context) error { entered.Add(1); return nil }})
	conn := server.Dial(f.User)
	epoch, index := f.Store.Index()
	ahead := protocol.EncodeIndex(epoch, index+1)

	hurry, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := projectpb.NewProjectServiceClient(conn).ListProjects(
		metadata.AppendToOutgoingContext(hurry, protocol.HeaderIndex, ahead), &projectpb.ListProjectsRequest{})
	if mustBe(t, err, errs.Deadline); entered.Load() != 0 {
		t.Fatal("answered from a state older than the caller has seen")
	}
	f.Do(&commandpb.Command_Noop{Noop: &commandpb.Noop{}})
	if _, _, err := list(t, conn, protocol.HeaderIndex, ahead); err != nil {
		t.Fatal(err)
	}
	if _, _, err := list(t, conn, protocol.HeaderIndex, protocol.EncodeIndex(ids.New(), index+1000)); err != nil {
		t.Errorf("an index of another epoch must be ignored: %v", err)
	}
	if _, _, err := list(t, conn, protocol.HeaderStale, "1", protocol.HeaderIndex, protocol.EncodeIndex(epoch, index+1000)); err != nil {
		t.Errorf("a stale call must not wait: %v", err)
	}
}

func TestPanicIsAnErrorOfTheCall(t *testing.T) {
	f := rpctest.New(t)
	var log bytes.Buffer
	panicWith := any("secret detail")
	server := f.ServeWith(func(cfg *serve.Config) {
		cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: &log})
	}, &project{list: func(context.Context) error { panic(panicWith) }})
	conn := server.Dial(f.User)
	for _, panicWith = range []any{"secret detail", errs.New(errs.NotFound, "secret detail")} {
		log.Reset()
		_, _, err := list(t, conn)
		mustBe(t, err, errs.Internal, "log of node test", "ListProjects")
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the cause reached the caller: %v", err)
		}
		id := errs.ToProto(err).GetId()
		if id == "" || !strings.Contains(err.Error(), id) || !strings.Contains(log.String(), id) || !strings.Contains(log.String(), "secret detail") {
			t.Errorf("id %q must be in error %q and log %q", id, err, log.String())
		}
	}
}

func TestInternalErrorOfAnotherNodeKeepsItsID(t *testing.T) {
	f := rpctest.New(t)
	elsewhere := errs.New(errs.Internal, "internal error, see the log of node b under id 42")
	elsewhere.ID = "42"
	server := f.Serve(&project{list: func(context.Context) error { return errs.FromStatus(errs.ToStatus(elsewhere)) }})
	_, _, err := list(t, server.Dial(f.User))
	mustBe(t, err, errs.Internal, "node b")
	if errs.ToProto(err).GetId() != "42" {
		t.Errorf("detail %v", errs.ToProto(err))
	}
}

func TestTooLargeMessageIsRefusedInWords(t *testing.T) {
	f := rpctest.New(t)
	server := f.Serve(rpctest.Everything{})
	big := &configpb.SetRequest{Changes: []*configpb.Change{{Value: strings.Repeat("x", serve.MaxMessage)}}}
	_, err := configpb.NewConfigClient(server.Dial(f.User)).Set(t.Context(), big)
	mustBe(t, err, errs.Exhausted, "send less at a time")
}

func TestUnknownMethodIsRefusedInWords(t *testing.T) {
	f := rpctest.New(t)
	server := f.Serve()
	mustBe(t, rpctest.Call(t.Context(), server.Dial(f.User), unaryMethod), errs.Unimplemented, unaryMethod, "upgrade")
	// Known by its policy, but not served by this node.
	mustBe(t, rpctest.Call(t.Context(), server.Dial(f.User), "/waypoint.auth.Auth/WhoAmI"), errs.Unimplemented)
}

func TestServerWithUnlistedMethodDoesNotStart(t *testing.T) {
	f := rpctest.New(t)
	server := f.Unstarted()
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Service", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true}}}, struct{}{})
	if err := server.Check(); err == nil || !strings.Contains(err.Error(), streamMethod) {
		t.Errorf("check: %v", err)
	}
	if err := server.Server.Serve(nil); err == nil {
		t.Error("the server started")
	}
}

func TestHealthNeedsNothing(t *testing.T) {
	f := rpctest.New(t)
	answer, err := grpc_health_v1.NewHealthClient(f.Serve().DialBare()).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v %v", answer, err)
	}
}

func TestUnknownTokenOnALaggingNode(t *testing.T) {
	f := rpctest.New(t)
	server := f.Serve(&project{list: func(context.Context) error { return nil }})
	t.Run("arrives while the node becomes current", func(t *testing.T) {
		late := &authpb.Token{Id: ids.New(), Kind: authpb.TokenKind_TOKEN_KIND_USER, Subject: "x", CreatedBy: "bootstrap"}
		f.OnFresh(func(context.Context) error {
			f.OnFresh(nil)
			f.Do(&commandpb.Command_TokenCreate{TokenCreate: &commandpb.TokenCreate{Token: late}})
			return nil
		})
		_, _, err := list(t, server.Dial(signed(f, late.GetKind(), late.GetId(), f.ClusterID)))
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("cannot be looked up without a quorum", func(t *testing.T) {
		f.OnFresh(func(context.Context) error { return errs.New(errs.Unavailable, "no quorum") })
		defer f.OnFresh(nil)
		_, _, err := list(t, server.Dial(signed(f, authpb.TokenKind_TOKEN_KIND_USER, ids.New(), f.ClusterID)))
		mustBe(t, err, errs.Unavailable, "another node")
	})
}

// deaf is a stream handler that waits for messages and heeds no context.
type deaf struct{ entered, left chan struct{} }

func (d *deaf) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(&grpc.ServiceDesc{ServiceName: "waypoint.runner.RunnerService", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Session", ServerStreams: true, ClientStreams: true, Handler: d.serve}}}, d)
}

func (d *deaf) serve(_ any, ss grpc.ServerStream) error {
	close(d.entered)
	defer close(d.left)
	return ss.RecvMsg(&emptypb.Empty{})
}

func TestStreamOfRevokedTokenEnds(t *testing.T) {
	f := rpctest.New(t)
	handler := &deaf{entered: make(chan struct{}), left: make(chan struct{})}
	server := f.Serve(handler)
	row, text := f.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "builder")
	stream, err := server.Dial(text).NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/waypoint.runner.RunnerService/Session")
	if err != nil {
		t.Fatal(err)
	}
	<-handler.entered
	f.Revoke(row.GetId())
	mustBe(t, stream.RecvMsg(&emptypb.Empty{}), errs.Unauthenticated, "revoked")
	<-handler.left
}

func TestStreamOfExpiredTokenEnds(t *testing.T) {
	f := rpctest.New(t)
	handler := &deaf{entered: make(chan struct{}), left: make(chan struct{})}
	expiry := time.Now().Add(time.Hour).Truncate(time.Second)
	var now atomic.Int64
	now.Store(expiry.Add(-100 * time.Millisecond).UnixNano())
	server := f.ServeWith(func(cfg *serve.Config) { cfg.Now = func() time.Time { return time.Unix(0, now.Load()) } }, handler)
	_, text := f.TokenUntil(authpb.TokenKind_TOKEN_KIND_RUNNER, "builder", expiry)
	stream, err := server.Dial(text).NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/waypoint.runner.RunnerService/Session")
	if err != nil {
		t.Fatal(err)
	}
	<-handler.entered
	now.Store(expiry.UnixNano())
	mustBe(t, stream.RecvMsg(&emptypb.Empty{}), errs.Unauthenticated, "expired")
	<-handler.left
}

// flood is a stream handler that sends until it cannot.
type flood struct{ stuck, left chan struct{} }

func (h *flood) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(&grpc.ServiceDesc{ServiceName: "waypoint.runner.RunnerService", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Session", ServerStreams: true, ClientStreams: true, Handler: h.serve}}}, h)
}

func (h *flood) serve(_ any, ss grpc.ServerStream) error {
	defer close(h.left)
	stuck := time.AfterFunc(time.Hour, sync.OnceFunc(func() { close(h.stuck) }))
	defer stuck.Stop()
	for {
		stuck.Reset(100 * time.Millisecond) // of one Send
		if err := ss.SendMsg(wrapperspb.Bytes(make([]byte, 64<<10))); err != nil {
			return err
		}
	}
}

func TestStreamOfRevokedTokenEndsThoughNobodyReads(t *testing.T) {
	f := rpctest.New(t)
	handler := &flood{stuck: make(chan struct{}), left: make(chan struct{})}
	server := f.Serve(handler)
	row, text := f.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "builder")
	_, err := server.Dial(text).NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/waypoint.runner.RunnerService/Session")
	if err != nil {
		t.Fatal(err)
	}
	<-handler.stuck
	f.Revoke(row.GetId())
	<-handler.left
}

func TestStreamEndsWithItsHandlersError(t *testing.T) {
	f := rpctest.New(t)
	handler := &deaf{entered: make(chan struct{}), left: make(chan struct{})}
	server := f.Serve(handler)
	_, text := f.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "builder")
	if err := rpctest.Call(t.Context(), server.Dial(text), "/waypoint.runner.RunnerService/Session"); err != nil {
		t.Errorf("handler's nil became %v", err)
	}
	<-handler.left
}
