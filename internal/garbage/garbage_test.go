package garbage

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"waypoint/internal/wait"
)

func TestSmallHeapsMayGrowFurther(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		live, spare uint64
		want        int
	}{
		{0, 64 * mib, most},
		{mib, 64 * mib, most},
		{32 * mib, 64 * mib, 200},
		{64 * mib, 64 * mib, usual},
		{1024 * mib, 64 * mib, usual},
	} {
		if got := percent(c.live, c.spare); got != c.want {
			t.Errorf("a heap of %d MiB may grow by %d %%, want %d", c.live/mib, got, c.want)
		}
	}
}

func TestTheCollectorIsToldUntilTheEnd(t *testing.T) {
	t.Setenv("GOGC", "")
	stop := Allow(1 << 40)
	current := func() int {
		old := debug.SetGCPercent(usual)
		debug.SetGCPercent(old)
		return old
	}
	wait.For(t, 20*time.Second, "the heap to be allowed more", func() bool {
		runtime.GC()
		return current() == most
	})
	stop()
	wait.For(t, 20*time.Second, "the heap to be as usual", func() bool {
		runtime.GC()
		return current() == usual
	})
}
