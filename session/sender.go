package session

import "sync"

// sender sends a stream's messages without making anybody wait: a goroutine
// exists only while there is something to send. Who embeds it owns what waits
// to be sent, under mu, and calls wake when that has become more.
type sender[D any] struct {
	send  func(*D) error
	spawn func(func()) bool
	fail  func(error)

	mu      sync.Mutex
	sending bool
}

// wake begins to send what next returns, until that is nil. The caller holds
// mu, and next is called under it.
func (s *sender[D]) wake(next func() *D) {
	if !s.sending {
		s.sending = s.spawn(func() { s.drain(next) })
	}
}

// drain sends until nothing waits. After a failure nothing is sent any more.
func (s *sender[D]) drain(next func() *D) {
	finished := false
	defer func() {
		if !finished { // a panic: sending stays set, so nothing wakes it
			s.fail(errDefect())
		}
	}()
	s.sendAll(next)
	finished = true
}

func (s *sender[D]) sendAll(next func() *D) {
	for {
		s.mu.Lock()
		d := next()
		s.sending = d != nil
		s.mu.Unlock()
		if d == nil {
			return
		}
		if err := s.send(d); err != nil {
			s.mu.Lock()
			s.sending = true // for good: nothing wakes it
			s.mu.Unlock()
			s.fail(err)
			return
		}
	}
}

// popFirst takes the first message off a queue, or returns nil.
func popFirst[D any](queue *[]*D) *D {
	if len(*queue) == 0 {
		return nil
	}
	d := (*queue)[0]
	if *queue = (*queue)[1:]; len(*queue) == 0 {
		*queue = nil
	}
	return d
}
