package exec

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/replay"
)

// read keeps standard input until it has been acknowledged, and stops to read
// when that is too much.
func (s *session) read() {
	buffer := make([]byte, replay.BlockSize)
	for s.inputRoom() {
		n, err := s.cfg.Stdin.Read(buffer)
		s.mu.Lock()
		s.input.Write(buffer[:n])
		s.inputEOF = err != nil
		s.changed.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// inputRoom waits until there is room for another read; false at the end.
func (s *session) inputRoom() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.input.Len() > window-replay.BlockSize && !s.finished() {
		s.changed.Wait()
	}
	return !s.finished()
}

// write writes output in the order in which it came, and all of it before the
// end, unless that fails.
func (s *session) write() {
	for {
		p, ok := s.nextOutput()
		if !ok {
			return
		}
		to := s.cfg.Stdout
		if p.stream == 1 {
			to = s.cfg.Stderr
		}
		if _, err := to.Write(p.data); err != nil {
			s.giveUp(fmt.Errorf("exec: write output: %w", err))
			return
		}
		s.wrote(p)
	}
}

func (s *session) nextOutput() (piece, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.output) == 0 {
		if s.finished() {
			return piece{}, false
		}
		s.changed.Wait()
	}
	p := s.output[0]
	s.output[0] = piece{}
	s.output = s.output[1:]
	return p, true
}

func (s *session) wrote(p piece) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting -= len(p.data)
	s.written[p.stream] += uint64(len(p.data))
	if s.link != nil && s.opened.GetResumable() && s.written[0]+s.written[1]-s.acked >= ackBytes {
		s.link.ackDue = true
	}
	s.changed.Broadcast()
}

// watch passes signals on and sees to it that something is sent now and then,
// until over is closed. Who interrupts often enough gives the session up.
func (s *session) watch(over <-chan struct{}) {
	interrupts := 0
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-over:
			return
		case sig := <-s.cfg.Signals:
			if sig == syscall.SIGINT || sig == syscall.SIGTERM {
				interrupts++
			}
			if interrupts >= giveUpAt {
				s.giveUp(errs.New(errs.Canceled, "exec: given up; the command may go on for some seconds"))
				continue
			}
			s.signal(sig)
		case <-ping.C:
			s.mu.Lock()
			if s.link != nil {
				s.link.ping = true
			}
			s.changed.Broadcast()
			s.mu.Unlock()
		}
	}
}

// signal keeps a signal for the command. While there is no stream those that
// come wait in their order, up to a bound.
func (s *session) signal(sig os.Signal) {
	number, _ := sig.(syscall.Signal)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
	if sig == syscall.SIGWINCH {
		s.resized = s.cfg.Size != nil
		return
	}
	if len(s.orders) < maxOrders {
		s.orders = append(s.orders, &execpb.Input{Kind: &execpb.Input_Signal{Signal: int32(number)}})
	}
}
