package serve

import (
	"context"
	"crypto/tls"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"waypoint/protocol"
)

// guest is the AuthInfo of connections that are bounded in number and in what
// they may do until somebody who is known has called.
type guest interface {
	ConnectionState() tls.ConnectionState
	// Known says that the caller has proved who it is, and IsKnown whether.
	Known()
	IsKnown() bool
	// Enter counts a call; false: there are too many, and the connection ends. If
	// leave is not nil, it must be called at the call's end.
	Enter() (leave func(), ok bool)
}

// known tells the call's connection that it is somebody's.
func known(ctx context.Context) {
	if from, ok := peer.FromContext(ctx); ok {
		if g, ok := from.AuthInfo.(guest); ok {
			g.Known()
		}
	}
}

// enter bounds the calls of who has not shown yet who it is. It runs before
// anything is made for a call: to open calls and send nothing costs a caller
// little, and each holds memory here.
func (c *chain) enter(ctx context.Context, info *tap.Info) (context.Context, error) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return ctx, nil
	}
	g, ok := from.AuthInfo.(guest)
	if !ok || g.IsKnown() {
		return ctx, nil
	}
	if c.introduced(info.Header) {
		g.Known()
	}
	leave, ok := g.Enter()
	if !ok {
		return nil, status.Error(codes.ResourceExhausted, "too many calls at a time on a connection that has shown no valid token yet")
	}
	if leave != nil {
		context.AfterFunc(ctx, leave)
	}
	return ctx, nil
}

// introduced tells whether a call's headers carry a token that is valid as far
// as this node knows. It does not wait; what the call may do is decided later.
func (c *chain) introduced(headers metadata.MD) bool {
	text, ok := strings.CutPrefix(first(headers, protocol.HeaderAuthorization), bearer)
	if !ok {
		return false
	}
	key, err := c.TokenKey()
	if err != nil {
		return false
	}
	signed, err := c.known.verify(key, text)
	return err == nil && c.valid(signed, c.Store.Read().Token(signed.GetId())) == nil
}
