package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"waypoint/test/harness"
)

// logReader is one running "waypoint logs -f". It counts each instance's
// numbered lines, and the lines that the command reports as lost.
type logReader struct {
	cmd    *exec.Cmd
	ended  sync.WaitGroup
	lines  atomic.Int64 // numbered lines
	lost   atomic.Int64 // told as lost
	others atomic.Int64 // lines without a number
	newest atomic.Int64 // when the newest numbered line came, unix nanoseconds

	mu     sync.Mutex
	last   map[string]int // instance to the number of its newest line
	faults []string
}

// follow starts the command, beginning with nothing of what is kept.
func follow(ctx context.Context, c *harness.Cluster) (*logReader, error) {
	r := &logReader{cmd: c.Command(ctx, "logs", "-f"), last: map[string]int{}}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	r.ended.Go(func() { r.read(stdout) })
	r.ended.Go(func() { r.readGaps(stderr) })
	return r, nil
}

// read counts lines like "7ZK3QF | time=... level=INFO msg=... n=123".
func (r *logReader) read(from io.Reader) {
	in := bufio.NewReaderSize(from, 256<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		instance, text, ok := bytes.Cut(line, []byte(" | "))
		number, numbered := lineNumber(text)
		if !ok || !numbered {
			r.others.Add(1)
			continue
		}
		r.note(string(instance), number)
	}
}

func (r *logReader) note(instance string, number int) {
	r.mu.Lock()
	if number <= r.last[instance] {
		r.faults = append(r.faults, fmt.Sprintf("%s: line %d came after line %d", instance, number, r.last[instance]))
	}
	r.last[instance] = number
	r.mu.Unlock()
	r.newest.Store(time.Now().UnixNano())
	r.lines.Add(1)
}

// lineNumber reads the number at the end of "... n=123".
func lineNumber(text []byte) (n int, ok bool) {
	at := bytes.LastIndex(text, []byte(" n="))
	if at < 0 {
		return 0, false
	}
	for _, c := range text[at+3:] {
		if c < '0' || c > '9' {
			break
		}
		n, ok = n*10+int(c-'0'), true
	}
	return n, ok
}

func (r *logReader) readGaps(from io.Reader) {
	pattern := regexp.MustCompile(`--- ([0-9,]+) lines? .*lost`)
	in := bufio.NewScanner(from)
	for in.Scan() {
		found := pattern.FindSubmatch(in.Bytes())
		if found == nil {
			continue
		}
		n, err := strconv.ParseInt(string(bytes.ReplaceAll(found[1], []byte(","), nil)), 10, 64)
		if err != nil {
			continue
		}
		r.lost.Add(n)
	}
}

// settled waits until so many numbered lines have come or were told as lost,
// and returns how many did either way since before.
func (r *logReader) settled(ctx context.Context, before tally, want int64, limit time.Duration) (tally, error) {
	err := harness.Until(ctx, limit, func() error {
		if got := r.tally().since(before); got.lines+got.lost < want {
			return fmt.Errorf("%d lines came and %d were told as lost, of %d", got.lines, got.lost, want)
		}
		return nil
	})
	return r.tally().since(before), err
}

// tally is how far a reader has come.
type tally struct{ lines, lost int64 }

func (r *logReader) tally() tally { return tally{r.lines.Load(), r.lost.Load()} }

func (t tally) since(before tally) tally { return tally{t.lines - before.lines, t.lost - before.lost} }

// wrong describes lines that came twice or out of order.
func (r *logReader) wrong() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.faults) == 0 {
		return nil
	}
	return fmt.Errorf("%d lines came twice or out of order, the first: %s", len(r.faults), r.faults[0])
}

// stop ends the command and waits for it.
func (r *logReader) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	r.ended.Wait()
	_ = r.cmd.Wait() // how it ended is not what is measured
}
