// Package backoff spaces out repeated tries: twice as far apart each time, up
// to a bound, with jitter so that many who failed together do not come back
// together.
//
// It must not know what is being tried.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is the pause before the next try. It is for one goroutine only.
type Backoff struct {
	min, max, next time.Duration
}

// New returns a Backoff whose first pause is about min, and none longer than
// max. A min of zero or less counts as one millisecond, a max below min as min.
func New(min, max time.Duration) *Backoff {
	if min <= 0 {
		min = time.Millisecond
	}
	if max < min {
		max = min
	}
	return &Backoff{min: min, max: max, next: min}
}

// Next returns how long to pause now, a random time between half of this
// step's length and all of it, and doubles the step.
func (b *Backoff) Next() time.Duration {
	step := b.next
	if b.next > b.max/2 {
		b.next = b.max
	} else {
		b.next *= 2
	}
	half := step / 2
	return half + rand.N(step-half+1)
}

// Reset goes back to the first step: call it after a success.
func (b *Backoff) Reset() { b.next = b.min }

// Wait pauses for Next, or returns ctx's error as soon as ctx is done.
func (b *Backoff) Wait(ctx context.Context) error {
	timer := time.NewTimer(b.Next())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
