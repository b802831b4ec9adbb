package serve

import (
	"context"
	"time"

	"google.golang.org/grpc/metadata"

	"waypoint/api/policypb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/protocol"
	"waypoint/rpc/call"
)

const (
	// catchUpWait bounds how long a call waits for this node to know what its
	// caller has already seen elsewhere.
	catchUpWait = 5 * time.Second
	// maxRequestID bounds a request id, in bytes: a ULID, a slash, a number.
	maxRequestID = 40
)

// checkProtocol compares the caller's range of the method's protocol with ours.
func (c *chain) checkProtocol(info *call.Info, guard policypb.Protocol, headers metadata.MD) error {
	name := guardedBy(guard)
	text := first(headers, protocol.HeaderRanges)
	if name == "" && text == "" {
		return nil
	}
	if text == "" {
		return errs.New(errs.Invalid,
			"the call of %s does not say which protocol versions it speaks: use a Waypoint client, or send the header %s: %s",
			info.Method, protocol.HeaderRanges, protocol.EncodeRanges(c.Ranges))
	}
	ranges, err := protocol.DecodeRanges(text)
	if name == "" {
		info.Ranges = ranges
		return nil // whatever it speaks
	}
	if err != nil {
		return errs.New(errs.Invalid, "the header %s of the call of %s cannot be read: send one like %s: %w",
			protocol.HeaderRanges, info.Method, protocol.EncodeRanges(c.Ranges), err)
	}
	info.Ranges = ranges
	_, err = protocol.Negotiate(name, protocol.Of(c.Ranges, name), protocol.Of(ranges, name))
	return err
}

// takeRequestID checks the caller's request id, or makes one.
func (c *chain) takeRequestID(info *call.Info, headers metadata.MD) error {
	id := first(headers, protocol.HeaderRequestID)
	if id == "" {
		info.RequestID = ids.At(c.requestTime())
		return nil
	}
	if _, err := ids.Time(id); err != nil || len(id) > maxRequestID {
		return errs.New(errs.Invalid, "the header %s of the call of %s is not a ULID or ULID/number: send a new ULID, or leave it out",
			protocol.HeaderRequestID, info.Method)
	}
	info.RequestID = id
	return nil
}

// catchUp waits until this node knows what its caller has seen elsewhere, so
// that a client that changes nodes never reads backwards. Entrypoints and nodes
// carry indexes in their own messages: they must be served by a node that lags.
func (c *chain) catchUp(ctx context.Context, info *call.Info, guard policypb.Protocol, headers metadata.MD) error {
	switch first(headers, protocol.HeaderStale) {
	case "1", "true":
		info.Stale = true
	}
	text := first(headers, protocol.HeaderIndex)
	if info.Stale || text == "" || guard != policypb.Protocol_PROTOCOL_API {
		return nil
	}
	epoch, index, err := protocol.DecodeIndex(text)
	if err != nil {
		return errs.New(errs.Invalid, "the header %s of the call of %s cannot be read: send back what the last answer carried, or leave it out: %w",
			protocol.HeaderIndex, info.Method, err)
	}
	bounded, cancel := context.WithTimeout(ctx, catchUpWait)
	defer cancel()
	if err := c.Store.WaitIndex(bounded, epoch, index); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		_, here := c.Store.Index()
		return errs.New(errs.Unavailable,
			"node %s is at index %d and has not reached index %d, which the caller has seen, within %s: call another node, or ask for stale data",
			c.NodeName, here, index, catchUpWait)
	}
	return nil
}
