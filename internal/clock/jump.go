//go:build clockjump

package clock

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// envFile names the file that says by how much the clock is off: 8 bytes, a
// number of nanoseconds in this machine's byte order. It is looked at each time
// the clock is, so writing to it makes the clock jump.
const envFile = "WAYPOINT_TEST_CLOCK"

var offset = sync.OnceValue(mapped)

// Now returns the time, without a monotonic reading.
func Now() time.Time {
	now := time.Now().Round(0)
	if off := offset(); off != nil {
		return now.Add(time.Duration(off.Load()))
	}
	return now
}

// mapped maps the file; nil if there is none. A test that asks for what cannot
// be had must not go on.
func mapped() *atomic.Int64 {
	path := os.Getenv(envFile)
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", envFile, err))
	}
	defer f.Close()
	data, err := syscall.Mmap(int(f.Fd()), 0, int(unsafe.Sizeof(atomic.Int64{})), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(fmt.Sprintf("%s: map %s: %v", envFile, path, err))
	}
	return (*atomic.Int64)(unsafe.Pointer(&data[0]))
}
