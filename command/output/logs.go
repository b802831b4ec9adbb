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
//
// A message's lines go out in one write, so that a reader keeps up with what a
// cluster can send, and none waits for the next message.
type Logs struct {
	out, err io.Writer
	style    Style
	times    bool

	after    map[string]uint64 // instance id to its last seq
	open     lineKey           // the partial line that was left open
	text     []byte            // for out, not written yet
	prefixes map[prefixKey]string
}

type prefixKey struct{ instance, mark string }

// maxPrefixes bounds the prefixes that are remembered.
const maxPrefixes = 1000

type lineKey struct {
	instance string
	source   logspb.Source
}

// NewLogs prints lines to out and gaps and notices to errOut. With times, each
// line begins with the time the entrypoint gave it, in UTC.
func NewLogs(out, errOut io.Writer, style Style, times bool) *Logs {
	return &Logs{out: out, err: errOut, style: style, times: times, after: map[string]uint64{}, prefixes: map[prefixKey]string{}}
}

// After is where to go on after a broken stream: instance id to last seq.
func (l *Logs) After() map[string]uint64 { return l.after }

// Fresh takes the lines out of a batch that have been seen already and
// remembers the others as seen.
func (l *Logs) Fresh(batch *logspb.Batch) {
	kept := batch.Lines[:0]
	after := l.after[batch.GetInstanceId()]
	for _, line := range batch.GetLines() {
		if line.GetSeq() > after {
			after = line.GetSeq()
			kept = append(kept, line)
		}
	}
	if len(kept) > 0 {
		l.after[batch.GetInstanceId()] = after
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
	return l.flush()
}

// flush writes what has been gathered for out.
func (l *Logs) flush() error {
	if len(l.text) == 0 {
		return nil
	}
	_, err := l.out.Write(l.text)
	if l.text = l.text[:0]; cap(l.text) > keptText {
		l.text = nil
	}
	return err
}

// keptText is how much memory is kept for the next message.
const keptText = 1 << 20

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
	l.endLine()
	return l.flush()
}

func (l *Logs) endLine() {
	if l.open != (lineKey{}) {
		l.open = lineKey{}
		l.text = append(l.text, '\n')
	}
}

func (l *Logs) batch(batch *logspb.Batch) error {
	if gap := batch.GetGap(); gap.GetLines() > 0 || gap.GetBytes() > 0 {
		if err := l.gap(batch.GetInstanceId(), gap); err != nil {
			return err
		}
	}
	for _, line := range batch.GetLines() {
		l.line(batch.GetInstanceId(), line)
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

func (l *Logs) line(instance string, line *logspb.Line) {
	key := lineKey{instance, line.GetSource()}
	if l.open != key {
		l.endLine()
		mark := "|"
		if line.GetSource() == logspb.Source_SOURCE_ENTRYPOINT {
			mark = "*"
		}
		if l.times {
			l.text = time.Unix(0, line.GetTime()).UTC().AppendFormat(l.text, "2006-01-02T15:04:05.000Z ")
		}
		l.text = append(l.text, l.prefix(instance, mark)...)
	}
	l.text = append(l.text, line.GetData()...)
	l.open = key
	if !line.GetPartial() {
		l.text = append(l.text, '\n')
		l.open = lineKey{}
	}
}

func (l *Logs) prefix(instance, mark string) string {
	key := prefixKey{instance, mark}
	text, ok := l.prefixes[key]
	if !ok {
		text = l.style.Named(instance, ShortInstance(instance)+" "+mark) + " "
		if len(l.prefixes) < maxPrefixes {
			l.prefixes[key] = text
		}
	}
	return text
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
