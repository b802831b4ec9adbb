package output

import (
	"fmt"
	"io"
	"strings"
	"time"

	"waypoint/api/logspb"
)

// Logs prints log lines with a prefix per instance. It remembers what it has
// printed, so that a stream that is taken up again shows each line once.
type Logs struct {
	out, err io.Writer
	style    Style
	times    bool

	after map[string]uint64 // instance id to its last seq
	open  lineKey           // the partial line that the last write left open
}

type lineKey struct {
	instance string
	source   logspb.Source
}

// NewLogs prints lines to out and gaps and notices to errOut. With times, each
// line begins with the time the entrypoint gave it, in UTC.
func NewLogs(out, errOut io.Writer, style Style, times bool) *Logs {
	return &Logs{out: out, err: errOut, style: style, times: times, after: map[string]uint64{}}
}

// After is where to go on after a broken stream: instance id to last seq.
func (l *Logs) After() map[string]uint64 { return l.after }

// Fresh takes the lines out of a batch that have been seen already and
// remembers the others as seen.
func (l *Logs) Fresh(batch *logspb.Batch) {
	kept := batch.Lines[:0]
	for _, line := range batch.GetLines() {
		if line.GetSeq() <= l.after[batch.GetInstanceId()] {
			continue
		}
		l.after[batch.GetInstanceId()] = line.GetSeq()
		kept = append(kept, line)
	}
	batch.Lines = kept
}

// Response prints what a message of the stream brings.
func (l *Logs) Response(resp *logspb.StreamResponse) error {
	if resp.GetNotice() != "" {
		if err := l.Notice(resp.GetNotice()); err != nil {
			return err
		}
	}
	for _, batch := range resp.GetBatches() {
		if err := l.batch(batch); err != nil {
			return err
		}
	}
	return nil
}

// Notice prints a word for people.
func (l *Logs) Notice(text string) error {
	if err := l.Close(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(l.err, l.style.Dim("--- "+text+" ---"))
	return err
}

// Close ends a partial line that is still open.
func (l *Logs) Close() error {
	if l.open == (lineKey{}) {
		return nil
	}
	l.open = lineKey{}
	_, err := fmt.Fprintln(l.out)
	return err
}

func (l *Logs) batch(batch *logspb.Batch) error {
	if gap := batch.GetGap(); gap.GetLines() > 0 || gap.GetBytes() > 0 {
		if err := l.gap(batch.GetInstanceId(), gap); err != nil {
			return err
		}
	}
	for _, line := range batch.GetLines() {
		if err := l.line(batch.GetInstanceId(), line); err != nil {
			return err
		}
	}
	return nil
}

func (l *Logs) gap(instance string, gap *logspb.Gap) error {
	if err := l.Close(); err != nil {
		return err
	}
	lost := Count(gap.GetLines(), "line")
	if gap.GetLines() == 0 {
		lost = "some lines"
	}
	if gap.GetBytes() > 0 {
		lost += " (" + Bytes(gap.GetBytes()) + ")"
	}
	text := fmt.Sprintf("--- %s lost: %s ---", lost, gap.GetReason())
	_, err := fmt.Fprintf(l.err, "%s%s\n", l.prefix(instance, "|"), l.style.Warn(text))
	return err
}

func (l *Logs) line(instance string, line *logspb.Line) error {
	key := lineKey{instance, line.GetSource()}
	text := ""
	if l.open != key {
		if err := l.Close(); err != nil {
			return err
		}
		mark := "|"
		if line.GetSource() == logspb.Source_SOURCE_ENTRYPOINT {
			mark = "*"
		}
		if l.times {
			text = time.Unix(0, line.GetTime()).UTC().Format("2006-01-02T15:04:05.000Z") + " "
		}
		text += l.prefix(instance, mark)
	}
	text += string(line.GetData())
	l.open = key
	if !line.GetPartial() {
		text += "\n"
		l.open = lineKey{}
	}
	_, err := io.WriteString(l.out, text)
	return err
}

func (l *Logs) prefix(instance, mark string) string {
	return l.style.Named(instance, ShortInstance(instance)+" "+mark) + " "
}

// ShortInstance is the end of an instance's id, which tells instances apart
// (the beginning is the time of birth). "-instance" understands it.
func ShortInstance(id string) string {
	const length = 6
	if len(id) <= length {
		return strings.ToUpper(id)
	}
	return strings.ToUpper(id[len(id)-length:])
}
