package exec

import (
	"context"
	"sync"

	"waypoint/api/execpb"
	"waypoint/session"
)

// front is the caller's side of a session. It answers pings itself, since they
// are about the connection to the caller, and notes when the session has begun.
//
// A call that waits for a message of the caller ends only with the stream, so
// one goroutine reads it, from the first call of Recv on, into a buffer of one.
type front struct {
	stream execpb.Exec_StartServer
	inputs chan received
	start  sync.Once

	mu       sync.Mutex // one Send at a time
	hasBegun bool
}

// received is what one Recv returned.
type received struct {
	message *execpb.Input
	err     error
}

var _ session.ExecSide = (*front)(nil)

func newFront(stream execpb.Exec_StartServer) *front {
	return &front{stream: stream, inputs: make(chan received)}
}

// begin notes that the session cannot be begun anew.
func (f *front) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hasBegun = true
}

func (f *front) begun() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hasBegun
}

// Send sends a message to the caller.
func (f *front) Send(out *execpb.Output) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hasBegun = true
	return f.stream.Send(out)
}

// Recv returns the caller's next message that is not a ping.
func (f *front) Recv() (*execpb.Input, error) {
	f.begin()
	return f.recv(f.stream.Context())
}

func (f *front) recv(ctx context.Context) (*execpb.Input, error) {
	f.start.Do(func() { go f.read() })
	select {
	case r := <-f.inputs:
		return r.message, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// read ends with the stream, as soon as its handler has returned.
func (f *front) read() {
	for {
		message, err := f.stream.Recv()
		if message.GetPing() && err == nil {
			err = f.Send(&execpb.Output{Kind: &execpb.Output_Pong{Pong: true}})
			if err == nil {
				continue
			}
		}
		select {
		case f.inputs <- received{message, err}:
		case <-f.stream.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}
