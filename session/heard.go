package session

import (
	"sync/atomic"
	"time"
)

// lastWord is when a stream was last heard of. It counts from the stream's
// beginning, so that a jump of the system's clock makes nobody silent.
type lastWord struct {
	begun time.Time
	after *atomic.Int64 // nanoseconds from then to the last word
}

func hearing() lastWord { return lastWord{begun: time.Now(), after: new(atomic.Int64)} }

func (w lastWord) now() { w.after.Store(int64(time.Since(w.begun))) }

// idle is how long the stream has been silent.
func (w lastWord) idle() time.Duration {
	return time.Since(w.begun) - time.Duration(w.after.Load())
}
