package serve

import (
	"context"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"waypoint/api/policypb"
	"waypoint/errs"
	"waypoint/internal/task"
	"waypoint/protocol"
	"waypoint/rpc/call"
	"waypoint/rpc/policy"
	"waypoint/version"
)

// chain is the interceptors of one server.
type chain struct {
	Config
	policies *policy.Table
	watching *sync.WaitGroup // see watches
	watches  watches
	known    tokens
}

// unary passes a call with one request and one answer.
func (c *chain) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	_ = grpc.SetHeader(ctx, c.timeHeader())
	var answer any
	err := task.Protect(func() error {
		about, _, err := c.admit(ctx, info.FullMethod)
		if err != nil {
			return err
		}
		if err := checkSize(info.FullMethod, request); err != nil {
			return err
		}
		answer, err = handler(call.With(ctx, about), request)
		_ = grpc.SetTrailer(ctx, c.indexTrailer(about))
		return err
	})
	if err != nil {
		return nil, c.status(ctx, info.FullMethod, err)
	}
	return answer, nil
}

// stream passes a call with streams. A caller with a token is cut off when the
// token stops being valid.
func (c *chain) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	_ = ss.SetHeader(c.timeHeader())
	wrapped := &serverStream{ServerStream: ss, chain: c, method: info.FullMethod}
	err := task.Protect(func() error {
		about, credential, err := c.admit(ss.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		_ = ss.SetHeader(c.indexTrailer(about))
		defer wrapped.begin(about)()
		err = c.guarded(wrapped, credential, func() error { return handler(srv, wrapped) })
		ss.SetTrailer(c.indexTrailer(about))
		return err
	})
	var answer error
	if err != nil {
		answer = c.status(ss.Context(), info.FullMethod, err)
	}
	if ended := wrapped.ended(); ended != nil {
		return ended // the caller has it already
	}
	return answer
}

// admit runs every check on a call that comes before its handler.
func (c *chain) admit(ctx context.Context, method string) (*call.Info, *credential, error) {
	rule := c.policies.Lookup(method)
	if rule == nil {
		return nil, nil, errs.New(errs.Unimplemented,
			"this node (release %s) does not know the method %s: upgrade the server, or use a client of its release", version.Release, method)
	}
	headers, _ := metadata.FromIncomingContext(ctx)
	info := &call.Info{Method: method}
	if err := c.checkProtocol(info, rule.GetProtocol(), headers); err != nil {
		return nil, nil, err
	}
	credential, err := c.identify(ctx, info, rule, headers)
	if err != nil {
		return nil, nil, err
	}
	if err := c.takeRequestID(info, headers); err != nil {
		return nil, nil, err
	}
	return info, credential, c.catchUp(ctx, info, rule.GetProtocol(), headers)
}

// first returns the value of a header that is sent at most once.
func first(headers metadata.MD, name string) string {
	if values := headers.Get(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

func (c *chain) timeHeader() metadata.MD {
	return metadata.Pairs(protocol.HeaderTime, strconv.FormatInt(c.requestTime().UnixMilli(), 10))
}

// requestTime is the time at which a request id should be born. Its age is judged
// by the time of log entries, not by anybody's clock.
func (c *chain) requestTime() time.Time {
	now := c.Now()
	if last := c.Store.Meta().Time; last.After(now) {
		return last
	}
	return now
}

// indexTrailer says how current the answer is: as the local state, or as the
// call's own newest write if that has not arrived here yet.
func (c *chain) indexTrailer(info *call.Info) metadata.MD {
	epoch, index := c.Store.Index()
	return metadata.Pairs(protocol.HeaderIndex, protocol.EncodeIndex(epoch, max(index, info.Observed())))
}

// checkSize refuses a message that gRPC took but no method wants.
func checkSize(method string, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return nil
	}
	if size := proto.Size(m); size > MaxMessage {
		return errs.New(errs.Exhausted, "a message to %s is %d bytes long and may have at most %d: send less at a time", method, size, MaxMessage)
	}
	return nil
}

// unreadable says of a message that gRPC cannot read that it is the caller's
// fault. gRPC itself calls that an internal error, and one of those is ours.
func unreadable(method string, err error) error {
	if status.Code(err) != codes.Internal {
		return err
	}
	return errs.New(errs.Invalid, "a message to %s cannot be read: check the client and its release: %w", method, err)
}

// guardedBy names the range that a protocol compares; empty for none.
func guardedBy(p policypb.Protocol) string {
	switch p {
	case policypb.Protocol_PROTOCOL_API:
		return protocol.API
	case policypb.Protocol_PROTOCOL_ENTRYPOINT:
		return protocol.Entrypoint
	case policypb.Protocol_PROTOCOL_NODE:
		return protocol.Node
	}
	return ""
}
