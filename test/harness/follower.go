package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"waypoint/api/logspb"
)

// LogReader is a running "waypoint logs -f -json".
type LogReader struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// ReadLogs starts reading the log lines of the project in WorkDir. It calls take
// with each batch, in order, and broken with an answer that is none.
func (c *Cluster) ReadLogs(ctx context.Context, take func(*logspb.Batch), broken func(error)) (*LogReader, error) {
	r := &LogReader{cmd: c.Command(ctx, "logs", "-f", "-json"), ended: make(chan struct{})}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go r.read(stdout, take, broken)
	return r, nil
}

func (r *LogReader) read(from io.Reader, take func(*logspb.Batch), broken func(error)) {
	defer close(r.ended)
	sc := bufio.NewScanner(from)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var reply logspb.StreamResponse
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(sc.Bytes(), &reply); err != nil {
			broken(fmt.Errorf("unreadable answer: %w", err))
			continue
		}
		for _, b := range reply.GetBatches() {
			take(b)
		}
	}
	_ = r.cmd.Wait() // stopped by us; an early end shows as the closed channel
}

// Ended is closed when the command is over.
func (r *LogReader) Ended() <-chan struct{} { return r.ended }

// Stop ends the command and waits for it.
func (r *LogReader) Stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	<-r.ended
}

// Follower reads log lines and keeps each instance's newest line number, so that
// a missing line is seen.
type Follower struct {
	*LogReader
	lines chan string // dropped when nobody looks

	mu     sync.Mutex
	last   map[string]uint64
	faults []string
}

// Follow starts reading the log lines of the project in WorkDir.
func (c *Cluster) Follow(ctx context.Context) (*Follower, error) {
	f := &Follower{lines: make(chan string, 64), last: map[string]uint64{}}
	var err error
	f.LogReader, err = c.ReadLogs(ctx, f.take, func(err error) { f.fault(err.Error()) })
	return f, err
}

// take checks one batch and offers its lines to whoever looks.
func (f *Follower) take(b *logspb.Batch) {
	id := b.GetInstanceId()
	if g := b.GetGap(); g != nil {
		f.fault(fmt.Sprintf("gap of %d lines of %s: %s", g.GetLines(), id, g.GetReason()))
	}
	for _, l := range b.GetLines() {
		f.mu.Lock()
		if last, ok := f.last[id]; ok && l.GetSeq() != last+1 {
			f.faults = append(f.faults, fmt.Sprintf("instance %s went from line %d to %d", id, last, l.GetSeq()))
		}
		f.last[id] = l.GetSeq()
		f.mu.Unlock()
		select {
		case f.lines <- fmt.Sprintf("%s │ %s", id[max(0, len(id)-6):], l.GetData()):
		default:
		}
	}
}

func (f *Follower) fault(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, text)
}

// Forget begins to count missing lines anew.
func (f *Follower) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Missing describes every line that was skipped, repeated or reported as lost.
func (f *Follower) Missing() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.faults, "; ")
}

// Sources returns how many instances have been heard.
func (f *Follower) Sources() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.last)
}

// Next returns the next new lines that contain text, n of them.
func (f *Follower) Next(ctx context.Context, n int, limit time.Duration, text string) ([]string, error) {
	for len(f.lines) > 0 { // what came while nobody looked
		<-f.lines
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var found []string
	for len(found) < n {
		select {
		case line := <-f.lines:
			if strings.Contains(line, text) {
				found = append(found, line)
			}
		case <-timer.C:
			return found, fmt.Errorf("%d of %d lines with %q came within %s", len(found), n, text, limit)
		case <-f.Ended():
			return found, errors.New("the running \"logs -f\" ended")
		case <-ctx.Done():
			return found, ctx.Err()
		}
	}
	return found, nil
}
