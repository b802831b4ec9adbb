package client

import (
	"context"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"

	"waypoint/internal/ids"
	"waypoint/protocol"
)

// session is what replies have told: how far this client has seen the state,
// and the servers' time.
type session struct {
	mu    sync.Mutex
	epoch string
	index uint64
	time  time.Time // the servers', when it was
	heard time.Time // here; its monotonic reading counts, so that our clock may be set meanwhile
}

// learn reads a reply's header or trailer that came in between two times.
func (s *session) learn(md metadata.MD, sent, received time.Time) {
	if v := md.Get(protocol.HeaderIndex); len(v) > 0 {
		if epoch, index, err := protocol.DecodeIndex(v[0]); err == nil {
			s.saw(epoch, index)
		}
	}
	if v := md.Get(protocol.HeaderTime); len(v) > 0 {
		if ms, err := strconv.ParseInt(v[0], 10, 64); err == nil {
			between := sent.Add(received.Sub(sent) / 2)
			s.mu.Lock()
			s.time, s.heard = time.UnixMilli(ms), between
			s.mu.Unlock()
		}
	}
}

// saw keeps the highest index of the newest epoch. Epochs are ULIDs, so the
// newer one is the greater text.
func (s *session) saw(epoch string, index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case epoch > s.epoch:
		s.epoch, s.index = epoch, index
	case epoch == s.epoch && index > s.index:
		s.index = index
	}
}

// header is the session index as it goes out; empty before the first reply.
func (s *session) header() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch == "" && s.index == 0 {
		return ""
	}
	return protocol.EncodeIndex(s.epoch, s.index)
}

// now is the servers' time as far as it is known.
func (s *session) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard.IsZero() {
		return time.Now()
	}
	return s.time.Add(time.Since(s.heard))
}

// outgoing adds what each call carries to what the caller has put there.
func (c *Client) outgoing(ctx context.Context, requestID string) context.Context {
	kv := []string{protocol.HeaderRanges, c.ranges}
	if c.cfg.Token != "" {
		kv = append(kv, protocol.HeaderAuthorization, "Bearer "+c.cfg.Token)
	}
	if requestID != "" {
		kv = append(kv, protocol.HeaderRequestID, requestID)
	}
	if index := c.session.header(); index != "" {
		kv = append(kv, protocol.HeaderIndex, index)
	}
	if stale, _ := ctx.Value(staleKey{}).(bool); stale {
		kv = append(kv, protocol.HeaderStale, "true")
	}
	return metadata.AppendToOutgoingContext(ctx, kv...)
}

// requestID is the caller's own, or a new one born now by the servers' clock.
func (c *Client) requestID(ctx context.Context) (id string, own bool) {
	if id, ok := ctx.Value(requestIDKey{}).(string); ok && id != "" {
		return id, true
	}
	return ids.At(c.session.now()), false
}
