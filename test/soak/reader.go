package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"waypoint/api/logspb"
	"waypoint/test/harness"
)

// reader is one "waypoint logs -f -json" that lasts as long as the soak. It
// checks that each line comes once, in order, or in a gap that was told.
type reader struct {
	logs     *harness.LogReader
	violated func(format string, args ...any)

	mu        sync.Mutex
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
	r := &reader{violated: violated, instances: map[string]*source{}}
	var err error
	r.logs, err = c.ReadLogs(ctx, r.take, func(err error) { violated("logs -json: %v", err) })
	return r, err
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
	select {
	case <-r.logs.Ended():
		r.violated("logs -f ended by itself")
	default:
		r.logs.Stop()
	}
}
