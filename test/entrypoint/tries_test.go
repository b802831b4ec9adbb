package entrypoint

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// tries watches a network for rounds of connections.
type tries struct {
	mu  sync.Mutex
	at  []time.Time
	per int // connections in a round
}

const (
	look        = 10 * time.Millisecond // between two looks at the counter
	enoughTries = 4                     // of which causes and gaps are looked at
)

// counter names a counter of the kernel, see network.counter.
type counter struct{ protocol, name string }

var (
	connections = counter{"Tcp", "ActiveOpens"}
	datagrams   = counter{"Udp", "OutDatagrams"}
)

// watch counts what is asked for in the network, by rounds of so many, until
// the test ends.
func watch(t *testing.T, n *network, of counter, per int) *tries {
	w := &tries{per: per}
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(look)
		defer tick.Stop()
		for seen := 0; ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			now := n.counter(of)
			w.mu.Lock()
			for ; seen < now; seen++ {
				if seen%per == 0 {
					w.at = append(w.at, time.Now())
				}
			}
			w.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		close(stop)
		watching.Wait()
	})
	return w
}

// await waits until enough tries are over.
func (w *tries) await(p *program) {
	p.t.Helper()
	p.until(fmt.Sprintf("%d tries", enoughTries+1), func() bool { return len(w.times()) > enoughTries })
}

// times are when a round began.
func (w *tries) times() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at[:len(w.at):len(w.at)]
}

// gaps are between the beginnings of the first rounds.
func (w *tries) gaps() []time.Duration {
	var gaps []time.Duration
	at := w.times()
	for i := 1; i <= enoughTries && i < len(at); i++ {
		gaps = append(gaps, at[i].Sub(at[i-1]).Round(time.Millisecond))
	}
	return gaps
}
