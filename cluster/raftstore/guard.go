package raftstore

import (
	"fmt"
	"sync"
	"time"
)

// Guard runs writes to disk. The first that fails or takes too long is fatal:
// after a failed fsync the kernel may report the next one as done though the
// data is lost, and a leader whose disk hangs would lead for ever without
// committing anything.
type Guard struct {
	limit time.Duration
	fatal func(error)

	mu     sync.Mutex
	failed error
}

// NewGuard makes a guard that calls fatal once, with the first failure. A write
// that takes longer than limit is one. fatal must not block.
func NewGuard(limit time.Duration, fatal func(error)) *Guard {
	return &Guard{limit: limit, fatal: fatal}
}

// Do runs one write. After a failure nothing is written any more.
func (g *Guard) Do(what string, write func() error) error {
	if err := g.err(); err != nil {
		return err
	}
	timer := time.AfterFunc(g.limit, func() {
		g.fail(fmt.Errorf("%s: the disk did not answer within %v", what, g.limit))
	})
	err := write()
	timer.Stop()
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
		g.fail(err)
		return err
	}
	return g.err()
}

func (g *Guard) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}

func (g *Guard) fail(err error) {
	g.mu.Lock()
	first := g.failed == nil
	if first {
		g.failed = err
	}
	g.mu.Unlock()
	if first {
		g.fatal(err)
	}
}
