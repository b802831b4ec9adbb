//go:build linux

package faults

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// clockFaults are what happens to nodes' clocks.
func clockFaults() []fault {
	return []fault{{name: "clock jumps", begin: jumpClocks}}
}

// clockFile says by how much the clock of the n-th node is off: the binaries of
// this suite look there (internal/clock).
func (w *world) clockFile(n int) string { return filepath.Join(w.dir, fmt.Sprintf("clock%d", n+1)) }

// setClock makes the clock of the n-th node wrong by so much. The file stays the
// same one, which a running node has mapped.
func (w *world) setClock(n int, off time.Duration) error {
	f, err := os.OpenFile(w.clockFile(n), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(off)), 0)
	return errors.Join(err, f.Close())
}

// clocksCanJump returns an error unless the nodes look at their clock files:
// binaries that were built otherwise would pass every jump.
func (w *world) clocksCanJump() error {
	for i, n := range w.members() {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", n.Pid()))
		if err != nil {
			return err
		}
		if !bytes.Contains(maps, []byte(w.clockFile(i))) {
			return fmt.Errorf("node %s does not look at %s: was it built with the tag clockjump?", n.Name, w.clockFile(i))
		}
	}
	return nil
}

// jumpClocks lets the clocks of a minority jump to and fro: the time that a
// majority has is the right one.
func jumpClocks(ctx context.Context, s *strike) (mend, error) {
	var wrong []int
	var names []string
	for range 1 + s.random.IntN((s.size-1)/2) {
		victim := s.victim(ctx)
		for n, other := range s.members() {
			if victim == other {
				wrong, names = append(wrong, n), append(names, other.Name)
			}
		}
	}
	what := "clock jumps of " + strings.Join(names, " ")
	s.timeline.note("%s", what)
	working, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		var failed []error
		for working.Err() == nil {
			n, off := wrong[s.random.IntN(len(wrong))], s.jump()
			s.timeline.note("the clock of n%d is off by %s", n+1, off)
			failed = append(failed, s.setClock(n, off))
			pause(working, s.between(300*time.Millisecond, 3*time.Second))
		}
		done <- errors.Join(failed...)
	}()
	return func(context.Context) error {
		cancel()
		failed := []error{<-done}
		for _, n := range wrong {
			failed = append(failed, s.setClock(n, 0))
		}
		s.timeline.note("end of: %s", what)
		return errors.Join(failed...)
	}, nil
}

// jump draws by how much a clock is off: as often by little as by much.
func (s *strike) jump() time.Duration {
	most := []time.Duration{time.Second, time.Minute, time.Hour, 100 * 24 * time.Hour}[s.random.IntN(4)]
	off := s.between(0, most).Round(time.Millisecond)
	if s.random.IntN(2) == 0 {
		return -off
	}
	return off
}
