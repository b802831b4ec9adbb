package serve

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"waypoint/rpc/call"
)

// serverStream gives the handler its own context, bounds what it receives, and
// can be ended from within.
type serverStream struct {
	grpc.ServerStream
	chain  *chain
	method string

	// Set by begin.
	about  *call.Info
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu   sync.Mutex
	over error // the status that the stream was ended with
}

// begin makes the handler's context. What it returns is for the handler's end.
func (s *serverStream) begin(about *call.Info) (leave func()) {
	about.End, s.about = s.end, about
	ctx, cancel := context.WithCancelCause(s.ServerStream.Context())
	s.ctx, s.cancel = call.With(ctx, about), cancel
	return func() { cancel(nil) }
}

func (s *serverStream) Context() context.Context { return s.ctx }

func (s *serverStream) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return unreadable(s.method, err)
	}
	return checkSize(s.method, message)
}

// end ends the stream with the cause, if nothing has ended it yet: the caller
// gets its status, the handler's context ends, and so does each Recv and Send
// that waits.
//
// gRPC offers a handler that waits for a message no other end than its caller's.
// But its stream takes a status from anywhere, as its own Recv and Send do when
// they fail, and stops both.
func (s *serverStream) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil || s.ctx.Err() != nil {
		return
	}
	s.over = s.chain.status(s.ctx, s.method, cause)
	s.cancel(cause)
	s.SetTrailer(s.chain.indexTrailer(s.about))
	to, ok := grpc.ServerTransportStreamFromContext(s.ctx).(interface{ WriteStatus(*status.Status) error })
	if !ok {
		s.chain.Logger.Error("a stream cannot be ended from within: gRPC has changed", "method", s.method)
		return
	}
	_ = to.WriteStatus(status.Convert(s.over)) // fails if the connection has ended
}

// ended returns the status that the stream was ended with, nil if it was not.
func (s *serverStream) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}
