package hostile

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/api/configpb"
	"waypoint/api/entrypointpb"
	"waypoint/api/logspb"
	"waypoint/cluster/pki"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/protocol"
	"waypoint/version"
)

// plain is a connection that adds nothing to calls and repeats none.
func (n *nodes) plain(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithNoProxy(), grpc.WithDisableRetry(),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// as is a context of a call of the token's holder, with further headers.
func (n *nodes) as(t *testing.T, more ...string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, append(n.bearer(), more...)...)
}

func set(name, value string) *configpb.SetRequest {
	return &configpb.SetRequest{Changes: []*configpb.Change{{Scope: &configpb.Scope{}, Name: name, Value: value}}}
}

// oversized sends messages of each kind of method that are larger than may be.
func oversized(t *testing.T, n *nodes) {
	for _, addr := range n.Addrs {
		conn := n.plain(t, addr)
		for _, size := range []int{600 << 10, 5 << 20, 20 << 20} {
			_, err := configpb.NewConfigClient(conn).Set(n.as(t, protocol.HeaderRequestID, ids.New()), set("LARGE", strings.Repeat("x", size)))
			if kind := errs.KindOf(errs.FromStatus(err)); kind != errs.Exhausted && kind != errs.Invalid {
				t.Errorf("a write of %d bytes: %v", size, err)
			}
			// A stranger's.
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			_, err = clusterpb.NewClusterClient(conn).Join(ctx, &clusterpb.JoinRequest{TokenId: "x", Secret: make([]byte, size)})
			cancel()
			if err == nil {
				t.Errorf("a join request of %d bytes is served", size)
			}
		}
		// A stream of messages.
		ctx := metadata.AppendToOutgoingContext(n.as(t), protocol.HeaderAuthorization, "")
		stream, err := entrypointpb.NewEntrypointClient(conn).Attach(ctx)
		if err == nil {
			line := &logspb.Line{Data: make([]byte, 6<<20)}
			_ = stream.Send(&entrypointpb.Up{Kind: &entrypointpb.Up_Logs{Logs: &entrypointpb.LogBatch{Lines: []*logspb.Line{line}}}})
			if _, err = stream.Recv(); err == nil {
				t.Error("an oversized message of a stream is served")
			}
		}
	}
	// Claims cost their sender five bytes.
	for _, claimed := range []uint32{8<<20 - 1, 1 << 31, 1<<32 - 1} {
		for i := range 2 * nodeCount {
			r := dialHTTP2(t, n.Addrs[i%nodeCount])
			for stream := range 90 {
				id := uint32(2*stream + 1)
				r.send(append(frame(frameHeaders, endHeaders, id, call(methodJoin)), frame(frameData, 0, id, message(claimed, []byte{1}))...))
			}
			defer r.Close()
		}
	}
}

// garbage is a codec whose messages are any bytes.
type garbage struct{}

func (garbage) Name() string { return "proto" }

func (garbage) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (garbage) Unmarshal(mem.BufferSlice, any) error { return nil }

var _ encoding.CodecV2 = garbage{}

// malformed makes calls that break the rules of gRPC, of the messages, or of the
// headers.
func malformed(t *testing.T, n *nodes) {
	for _, addr := range n.Addrs {
		malformedMessages(t, n, n.plain(t, addr))
		malformedHeaders(t, n, n.plain(t, addr))
		malformedFrames(t, n, addr)
	}
}

func malformedMessages(t *testing.T, n *nodes, conn *grpc.ClientConn) {
	for name, data := range map[string][]byte{
		"no message":        {0xff, 0xff, 0xff},
		"a negative length": {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"text that is none": {0x0a, 0x08, 0x12, 0x02, 0xff, 0xfe, 0x1a, 0x02, 0xff, 0xfe},
		"endless nesting":   nested(20_000),
	} {
		for _, method := range []string{methodConfig, methodJoin, "/waypoint.job.JobService/Submit", "/waypoint.node.NodeService/Apply"} {
			err := conn.Invoke(n.as(t), method, data, new([]byte), grpc.ForceCodecV2(garbage{}))
			if err == nil {
				t.Errorf("%s with %s is served", method, name)
			}
		}
		for _, method := range []string{methodLogs, methodAttach} {
			stream, err := conn.NewStream(n.as(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodecV2(garbage{}))
			if err == nil {
				_ = stream.SendMsg(data)
				err = stream.RecvMsg(new([]byte))
			}
			if err == nil {
				t.Errorf("%s with %s is served", method, name)
			}
		}
	}
	for what, err := range map[string]error{
		"an unknown method":  conn.Invoke(n.as(t), "/waypoint.config.Config/Steal", []byte{}, new([]byte), grpc.ForceCodecV2(garbage{})),
		"an unknown service": conn.Invoke(n.as(t), "/x.Y/Z", []byte{}, new([]byte), grpc.ForceCodecV2(garbage{})),
		"no method":          conn.Invoke(n.as(t), "/", []byte{}, new([]byte), grpc.ForceCodecV2(garbage{})),
	} {
		if kind := errs.KindOf(errs.FromStatus(err)); kind != errs.Unimplemented {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, lifetime := range []*durationpb.Duration{{Seconds: -1}, {Seconds: 1 << 62}, {Nanos: -1 << 31}} {
		_, err := clusterpb.NewClusterClient(conn).CreateJoinToken(n.as(t, protocol.HeaderRequestID, ids.New()), &clusterpb.CreateJoinTokenRequest{Lifetime: lifetime})
		if !errs.Is(errs.FromStatus(err), errs.Invalid) {
			t.Errorf("a join token for %v: %v", lifetime, err)
		}
	}
}

// nested is a message in a message, and so on.
func nested(depth int) []byte {
	var b []byte
	for range depth {
		if len(b) > 60<<10 {
			break
		}
		head := []byte{0x0a}
		for n := len(b); ; n >>= 7 {
			if n < 128 {
				head = append(head, byte(n))
				break
			}
			head = append(head, byte(n)|128)
		}
		b = append(head, b...)
	}
	return b
}

func malformedHeaders(t *testing.T, n *nodes, conn *grpc.ClientConn) {
	api := configpb.NewConfigClient(conn)
	for name, value := range map[string]string{
		protocol.HeaderRequestID: "not an id",
		protocol.HeaderIndex:     "x/-1",
	} {
		if _, err := api.Set(n.as(t, name, value), set("X", "y")); !errs.Is(errs.FromStatus(err), errs.Invalid) {
			t.Errorf("header %s: %q: %v", name, value, err)
		}
	}
	for _, token := range []string{"", "Bearer", "Bearer ", "Basic " + n.Token, "Bearer " + n.Token + "x", "Bearer " + strings.Repeat("A", 9000), n.Token} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		ctx = metadata.AppendToOutgoingContext(ctx, protocol.HeaderAuthorization, token, protocol.HeaderRanges, protocol.EncodeRanges(protocol.Current()))
		if _, err := authpb.NewAuthClient(conn).ListTokens(ctx, &authpb.ListTokensRequest{}); !errs.Is(errs.FromStatus(err), errs.Unauthenticated) {
			t.Errorf("token %.20q: %v", token, err)
		}
		cancel()
	}
	for _, ranges := range []string{"", "api=2-1", "api=1-1,api=1-1", "api=99-100", strings.Repeat("a=1-1,", 300)} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		ctx = metadata.AppendToOutgoingContext(ctx, protocol.HeaderAuthorization, "Bearer "+n.Token, protocol.HeaderRanges, ranges)
		if _, err := api.Get(ctx, &configpb.GetRequest{}); err == nil {
			t.Errorf("ranges %.20q are accepted", ranges)
		}
		cancel()
	}
}

func malformedFrames(t *testing.T, n *nodes, addr string) {
	ask := func(headers []byte, data []byte) string {
		r := dialHTTP2(t, addr)
		defer r.Close()
		r.send(append(frame(frameHeaders, endHeaders, 1, headers), frame(frameData, endStream, 1, data)...))
		return r.answer(1)
	}
	if got := ask(call(methodVersion), message(0, nil)); got != answered {
		t.Errorf("a whole call gets %s", got)
	}
	for name, got := range map[string]string{
		"another content type": ask(block(":method", "POST", ":scheme", "https", ":path", methodVersion, "content-type", "text/html"), message(0, nil)),
		"GET":                  ask(block(":method", "GET", ":scheme", "https", ":path", methodVersion, "content-type", "application/grpc"), nil),
		"no path":              ask(block(":method", "POST", ":scheme", "https", "content-type", "application/grpc"), message(0, nil)),
		"a negative time":      ask(call(methodVersion, "grpc-timeout", "-5S"), message(0, nil)),
		"half a message":       ask(call(methodVersion), message(100, []byte{1, 2})),
		"unknown compression":  ask(call(methodVersion, "grpc-encoding", "lzma"), append([]byte{1, 0, 0, 0, 1}, 0)),
		"no gRPC":              ask(call(methodVersion), []byte("hello")),
		"a zero index":         ask([]byte{0x80}, message(0, nil)),
	} {
		if got != refused && got != cut {
			t.Errorf("%s gets %s", name, got)
		}
	}
	for name, frames := range map[string][]byte{
		"a frame that is too large": {0xff, 0xff, 0xff, frameData, 0, 0, 0, 0, 1},
		"data of no stream":         frame(frameData, 0, 0, []byte("x")),
		"an even stream":            frame(frameHeaders, endHeaders, 2, call(methodVersion)),
		"a continuation of nothing": frame(frameContinuation, 0, 1, nil),
		"settings of an odd size":   frame(frameSettings, 0, 0, make([]byte, 5)),
	} {
		r := dialHTTP2(t, addr)
		r.send(frames)
		if !r.ended(patience) {
			t.Errorf("%s: the connection goes on", name)
		}
		r.Close()
	}
}

// replayed sends again what was sent before.
func replayed(t *testing.T, n *nodes) {
	id := ids.New()
	for i, addr := range n.Addrs {
		api := configpb.NewConfigClient(n.plain(t, addr))
		first, err := api.Set(n.as(t, protocol.HeaderRequestID, id), set("ONCE", "a"))
		if err != nil || first.GetVariables()[0].GetVersion() != 1 {
			t.Errorf("node %d: the same request again: %v, %v", i, first, err)
		}
		if _, err := api.Set(n.as(t, protocol.HeaderRequestID, id), set("ONCE", "b")); !errs.Is(errs.FromStatus(err), errs.Conflict) {
			t.Errorf("node %d: another request under the same id: %v", i, err)
		}
		old := ids.At(time.Now().Add(-24 * time.Hour))
		if _, err := api.Set(n.as(t, protocol.HeaderRequestID, old), set("ONCE", "c")); !errs.Is(errs.FromStatus(err), errs.OutcomeUnknown) {
			t.Errorf("node %d: a request of yesterday: %v", i, err)
		}
	}
	reply, err := clusterpb.NewClusterClient(n.api.Conn()).CreateJoinToken(t.Context(), &clusterpb.CreateJoinTokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	join := joinRequest(t, reply.GetText())
	for i := range 2 * nodeCount {
		if _, err := clusterpb.NewClusterClient(n.plain(t, n.Addrs[i%nodeCount])).Join(anonymous(t), join); err != nil {
			t.Errorf("the same request to join again: %v", err)
		}
		stolen := joinRequest(t, reply.GetText())
		answer, err := clusterpb.NewClusterClient(n.plain(t, n.Addrs[i%nodeCount])).Join(anonymous(t), stolen)
		if !errs.Is(errs.FromStatus(err), errs.Unauthenticated) || len(answer.GetRootKeyring()) > 0 {
			t.Errorf("a join token that has been used: %v", err)
		}
	}
}

func anonymous(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, protocol.HeaderRanges, protocol.EncodeRanges(protocol.Current()))
}

// joinRequest is what a node of its own sends that has got hold of the token.
func joinRequest(t *testing.T, text string) *clusterpb.JoinRequest {
	t.Helper()
	var token struct {
		ID     string `json:"id"`
		Secret []byte `json:"secret"`
	}
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, "wpj_"))
	if err == nil {
		err = json.Unmarshal(data, &token)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("read the join token: %w", err))
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	return &clusterpb.JoinRequest{TokenId: token.ID, Secret: token.Secret, Csr: csr,
		Node: &clusterpb.Node{Id: ids.New(), Name: "ghost", Build: version.Build()}}
}
