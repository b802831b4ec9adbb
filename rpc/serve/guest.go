package serve

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

// guest is the AuthInfo of connections that are bounded in number and in what
// they may do until somebody who is known has called.
type guest interface {
	ConnectionState() tls.ConnectionState
	// Known says that the caller has proved who it is.
	Known()
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

// enter bounds the calls of who has not said yet who it is. It runs before
// anything is made for a call: to open calls and send nothing costs a caller
// little, and each holds memory here.
func enter(ctx context.Context, _ *tap.Info) (context.Context, error) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return ctx, nil
	}
	g, ok := from.AuthInfo.(guest)
	if !ok {
		return ctx, nil
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
