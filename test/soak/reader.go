package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"google.golang.org/protobuf/encoding/protojson"

	"waypoint/api/logspb"
	"waypoint/test/harness"
)

// reader is one "waypoint logs -f -json" that lasts as long as the soak. It
// checks that each line comes once, in order, or in a gap that was told.
type reader struct {
	cmd      *exec.Cmd
	violated func(format string, args ...any)
	done     sync.WaitGroup

	mu        sync.Mutex
	ended     bool // by us
	instances map[string]*source
	gaps      int
	bursts    int
}

// source is what has been read of one instance.
type source struct {
	last    uint64
	lines   uint64
	lost    uint64   // told in gaps
	unknown bool     // a gap of unknown size was told since the last line
	configs []string // with which its application was started, in order
	over    bool     // its application's last line has come
}

func follow(ctx context.Context, c *harness.Cluster, violated func(string, ...any)) (*reader, error) {
	r := &reader{cmd: c.Command(ctx, "logs", "-f", "-json"), violated: violated, instances: map[string]*source{}}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	r.done.Go(func() { r.read(out) })
	return r, nil
}

func (r *reader) read(from io.Reader) {
	in := bufio.NewScanner(from)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var reply logspb.StreamResponse
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(in.Bytes(), &reply); err != nil {
			r.violated("logs -json printed what is no answer: %v", err)
			continue
		}
		for _, b := range reply.GetBatches() {
			r.take(b)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.violated("logs -f ended by itself")
	}
}

func (r *reader) take(b *logspb.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.instances[b.GetInstanceId()]
	if s == nil {
		s = &source{}
		r.instances[b.GetInstanceId()] = s
	}
	if gap := b.GetGap(); gap != nil {
		s.last += gap.GetLines()
		s.unknown = s.unknown || gap.GetLines() == 0
		s.lost += gap.GetLines()
		r.gaps++
	}
	for _, l := range b.GetLines() {
		switch want := s.last + 1; {
		case l.GetSeq() == want:
		case l.GetSeq() > want && s.unknown:
			s.lost += l.GetSeq() - want
		case l.GetSeq() < want:
			r.violated("instance %s: line %d came again after line %d", b.GetInstanceId(), l.GetSeq(), s.last)
		default:
			r.violated("instance %s: lines %d to %d are missing and no gap was told", b.GetInstanceId(), want, l.GetSeq()-1)
		}
		s.last, s.unknown = l.GetSeq(), false
		s.lines++
		r.note(b.GetInstanceId(), s, string(l.GetData()))
	}
}

// note looks at what an application says of itself.
func (r *reader) note(id string, s *source, text string) {
	switch text {
	case "end":
		s.over = true
	case burstBegins:
		r.bursts++
	}
	config, ok := strings.CutPrefix(text, "start "+configName+"=")
	if !ok {
		return
	}
	s.over = false
	if n := len(s.configs); n > 0 && s.configs[n-1] == config {
		r.violated("instance %s: the application was restarted with the configuration %q that it had", id, config)
	}
	s.configs = append(s.configs, config)
}

// state is what has been read of an instance: the newest configuration that its
// application has started with, and whether its last line has come.
func (r *reader) state(id string) (config string, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.instances[id]
	if s == nil || len(s.configs) == 0 {
		return "", false
	}
	return s.configs[len(s.configs)-1], s.over
}

// carried says how many lines of an instance have come, and how many were told
// as lost.
func (r *reader) carried(id string) (lines, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.instances[id]; s != nil {
		return s.lines, s.lost
	}
	return 0, 0
}

// counts says how much has been read.
func (r *reader) counts() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines, lost uint64
	for _, s := range r.instances {
		lines += s.lines
		lost += s.lost
	}
	return fmt.Sprintf("%d bursts; %d lines, %d lost in %d gaps", r.bursts, lines, lost, r.gaps)
}

func (r *reader) stop() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	r.done.Wait()
	_ = r.cmd.Wait() // it was told to end
}
