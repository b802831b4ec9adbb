package client

import (
	"cmp"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxLearned = 64          // addresses kept beside the configured ones
	markFor    = time.Minute // how long a failure makes an address a worse choice
)

// book is the list of addresses and what is known of each.
type book struct {
	now func() time.Time

	mu         sync.Mutex
	configured []string
	learned    []string
	marks      map[string]mark // of the newest failure
	preferred  []string        // for the next connection only
}

// mark is the newest failure of an address.
type mark struct {
	at  time.Time
	why string
}

func newBook(configured []string) *book {
	return &book{
		now:        time.Now,
		configured: unique(configured),
		marks:      make(map[string]mark),
	}
}

// add appends addresses that are not known yet; the oldest learned ones go
// when there are too many.
func (b *book) add(addrs []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.setLearned(append(slices.Clone(b.learned), addrs...))
}

// replace makes addrs all that is known beside the configured addresses.
func (b *book) replace(addrs []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.setLearned(addrs)
}

func (b *book) setLearned(addrs []string) {
	learned := unique(addrs)
	learned = slices.DeleteFunc(learned, func(a string) bool {
		_, _, err := net.SplitHostPort(a)
		return err != nil || slices.Contains(b.configured, a)
	})
	if over := len(learned) - maxLearned; over > 0 {
		learned = learned[over:]
	}
	b.learned = learned
	for a := range b.marks {
		if !slices.Contains(b.learned, a) && !slices.Contains(b.configured, a) {
			delete(b.marks, a)
		}
	}
}

// mark records that addr failed or is to be avoided.
func (b *book) mark(addr, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.marks[addr] = mark{at: b.now(), why: why}
}

// good records that addr answered, and uses up the preference.
func (b *book) good(addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.marks, addr)
	b.preferred = nil
}

func (b *book) prefer(addrs []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.preferred = unique(addrs)
}

// order is the list in which to try the addresses: preferred ones, those
// without a recent failure (shuffled or as configured), then the others,
// longest ago first.
func (b *book) order(shuffle bool) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := append(slices.Clone(b.configured), b.learned...)
	if shuffle {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	recent := b.now().Add(-markFor)
	slices.SortStableFunc(all, func(x, y string) int {
		return cmp.Compare(b.badness(x, recent), b.badness(y, recent))
	})
	return unique(append(slices.Clone(b.preferred), all...))
}

func (b *book) badness(addr string, recent time.Time) int64 {
	m, ok := b.marks[addr]
	if !ok || m.at.Before(recent) {
		return 0
	}
	return m.at.UnixNano()
}

// summary names every address and what went wrong with it.
func (b *book) summary() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var parts []string
	for _, a := range append(slices.Clone(b.configured), b.learned...) {
		why := "no answer yet"
		if m, ok := b.marks[a]; ok {
			why = m.why
		}
		parts = append(parts, a+": "+why)
	}
	return strings.Join(parts, "; ")
}

// size is the number of addresses.
func (b *book) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.configured) + len(b.learned)
}

// unique keeps the first of each and drops empty ones.
func unique(addrs []string) []string {
	var out []string
	for _, a := range addrs {
		if a != "" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
