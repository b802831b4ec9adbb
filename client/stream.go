package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"waypoint/errs"
	"waypoint/protocol"
)

// NewStream opens a stream on the current node, or on the next one that takes
// it. The stream must be received from until an error comes, or its context
// be cancelled.
func (n conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	id, _ := n.c.requestID(ctx)
	seat, _ := ctx.Value(seatKey{}).(*seat)
	if l := seat.taken(); l != nil {
		return n.c.joinStream(ctx, l, desc, method, id, opts)
	}
	for tries := n.c.book.size(); ; tries-- {
		l, err := n.c.link(ctx)
		if err != nil {
			return nil, typed(err)
		}
		s, err := n.c.openStream(ctx, l, desc, method, id, opts)
		if err == nil {
			seat.take(l)
			return s, nil
		}
		l.release()
		err = errs.FromStatus(err)
		if !errs.Is(err, errs.Unavailable) {
			return nil, err
		}
		n.c.fail(l, err.Error())
		if tries <= 1 || ctx.Err() != nil {
			return nil, errs.New(errs.Unavailable, "open a stream: %s", n.c.book.summary())
		}
	}
}

// joinStream opens a stream on the link of the streams it belongs to.
func (c *Client) joinStream(ctx context.Context, l *link, desc *grpc.StreamDesc, method, id string, opts []grpc.CallOption) (grpc.ClientStream, error) {
	if !l.join() {
		return nil, errs.New(errs.Unavailable, "%s: the connection of this stream has ended", l.addr)
	}
	s, err := c.openStream(ctx, l, desc, method, id, opts)
	if err != nil {
		l.release()
		return nil, errs.FromStatus(err)
	}
	return s, nil
}

func (c *Client) openStream(ctx context.Context, l *link, desc *grpc.StreamDesc, method, id string, opts []grpc.CallOption) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	raw, err := l.cc.NewStream(c.outgoing(ctx, id), desc, method, opts...)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &stream{ClientStream: raw, c: c, link: l, single: !desc.ServerStreams, opened: time.Now()}
	s.finish = sync.OnceFunc(func() {
		cancel()
		l.release()
	})
	context.AfterFunc(ctx, s.finish)
	return s, nil
}

// stream is a stream on one link. When it breaks, the client leaves the node.
type stream struct {
	grpc.ClientStream
	c      *Client
	link   *link
	single bool // the server answers with one message
	opened time.Time
	finish func()

	heard sync.Once
}

// RecvMsg receives; io.EOF is the good end, everything else is of package errs.
func (s *stream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.heard.Do(func() {
		if md, headerErr := s.Header(); headerErr == nil {
			// The header may have waited long for its first message, so
			// its time is of no use.
			s.c.session.learn(withoutTime(md), s.opened, s.opened)
		}
	})
	switch {
	case err == nil:
		if s.single {
			s.end()
		}
		return nil
	case errors.Is(err, io.EOF):
		s.end()
		return io.EOF
	default:
		s.end()
		return s.broke(err)
	}
}

// SendMsg sends; io.EOF says that the stream is over and RecvMsg knows why.
func (s *stream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return errs.FromStatus(err)
}

// CloseSend says that nothing more will be sent.
func (s *stream) CloseSend() error {
	return errs.FromStatus(s.ClientStream.CloseSend())
}

func (s *stream) end() {
	s.c.session.learn(withoutTime(s.Trailer()), s.opened, s.opened)
	s.finish()
}

// broke types the error and moves the client if the node is the reason.
func (s *stream) broke(err error) error {
	err = errs.FromStatus(err)
	if errs.Is(err, errs.Unavailable) {
		s.c.fail(s.link, err.Error())
	}
	return err
}

func withoutTime(md metadata.MD) metadata.MD {
	md = md.Copy()
	md.Delete(protocol.HeaderTime)
	return md
}

// seat is where the streams of one context go.
type seat struct {
	mu   sync.Mutex
	link *link
}

func (s *seat) taken() *link {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

func (s *seat) take(l *link) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link = l
}

// NodeOf is the address of the node that the streams of a Sticky context are
// on; empty before the first.
func NodeOf(ctx context.Context) string {
	s, _ := ctx.Value(seatKey{}).(*seat)
	if l := s.taken(); l != nil {
		return l.addr
	}
	return ""
}
