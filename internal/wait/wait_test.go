package wait_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"waypoint/internal/wait"
)

// recorder stands in for a test that fails.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = strings.TrimSpace(format)
	runtime.Goexit()
}

func TestForReturnsWhenItIsDone(t *testing.T) {
	looks := 0
	wait.For(t, time.Minute, "three looks", func() bool { looks++; return looks == 3 })
	if looks != 3 {
		t.Errorf("looked %d times", looks)
	}
}

func TestForFailsTheTestAfterTheTimeout(t *testing.T) {
	r := &recorder{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		wait.For(r, time.Millisecond, "nothing", func() bool { return false })
	}()
	<-ended
	if r.failure == "" {
		t.Error("the test did not fail")
	}
}
