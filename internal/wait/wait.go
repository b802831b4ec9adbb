// Package wait lets tests wait for something that offers no channel to wait
// on.
//
// It must not be imported by anything but tests.
package wait

import (
	"testing"
	"time"
)

// interval is the time between two looks at the condition.
const interval = 2 * time.Millisecond

// For returns as soon as done says true, and fails the test if that has not
// happened before timeout. What completes the sentence "waited for ...".
func For(t testing.TB, timeout time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			if done() {
				return
			}
			t.Fatalf("waited %s in vain for %s", timeout, what)
		}
	}
}
