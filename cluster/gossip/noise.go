package gossip

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// The library writes a line about each packet that it cannot read, and anybody
// may send one. So many warnings and errors pass at once, and then one in each
// interval.
const (
	noiseBurst = 20
	noiseEvery = 3 * time.Second
)

// noise passes lines of the library's log on, but of warnings and errors no more
// than somebody could want to read. The next one says how many were left out.
type noise struct {
	out io.Writer
	now func() time.Time

	mu    sync.Mutex
	spent int       // lines that have passed and are not paid back yet
	since time.Time // when the last was paid back
	left  int       // lines left out
}

// Write implements io.Writer. Each call brings one line.
func (n *noise) Write(line []byte) (int, error) {
	if !bytes.Contains(line, []byte("[ERR]")) && !bytes.Contains(line, []byte("[WARN]")) {
		return n.out.Write(line)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	if back := int(now.Sub(n.since) / noiseEvery); back >= n.spent {
		n.spent, n.since = 0, now
	} else {
		n.spent, n.since = n.spent-back, n.since.Add(time.Duration(back)*noiseEvery)
	}
	if n.spent >= noiseBurst {
		n.left++
		return len(line), nil
	}
	n.spent++
	if n.left > 0 {
		line = fmt.Appendf(bytes.TrimRight(line, "\n"), " (and %d more lines that are left out)\n", n.left)
		n.left = 0
	}
	_, err := n.out.Write(line)
	return len(line), err
}
