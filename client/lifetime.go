package client

import (
	"context"
	"sync"
	"time"
)

// lifetime is the context of a client's own goroutines. It ends with Close: a
// client has no caller whose context it could use for them.
type lifetime struct {
	over chan struct{}
	once *sync.Once
}

var _ context.Context = lifetime{}

func newLifetime() lifetime {
	return lifetime{over: make(chan struct{}), once: new(sync.Once)}
}

func (l lifetime) end() { l.once.Do(func() { close(l.over) }) }

// Deadline, Done, Err and Value make it a context.
func (l lifetime) Deadline() (time.Time, bool) { return time.Time{}, false }
func (l lifetime) Done() <-chan struct{}       { return l.over }
func (l lifetime) Value(any) any               { return nil }
func (l lifetime) Err() error {
	select {
	case <-l.over:
		return context.Canceled
	default:
		return nil
	}
}
