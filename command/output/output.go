// Package output is how the command line shows things: aligned tables, JSON,
// times and sizes for people, and the running pictures of a job and of log
// streams. It writes what it is given; it calls nobody and decides nothing.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Table is a list whose columns are aligned when it is written.
type Table struct {
	rows [][]string
}

// NewTable starts a table with its header.
func NewTable(header ...string) *Table {
	return &Table{rows: [][]string{header}}
}

// Row adds a row. Tabs and line ends in a cell become spaces, an empty cell a
// dash.
func (t *Table) Row(cells ...string) {
	clean := make([]string, len(cells))
	for i, cell := range cells {
		clean[i] = oneLine(cell)
	}
	t.rows = append(t.rows, clean)
}

// Len is the number of rows without the header.
func (t *Table) Len() int { return len(t.rows) - 1 }

// Write writes header and rows.
func (t *Table) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		if _, err := fmt.Fprintln(tw, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func oneLine(cell string) string {
	cell = strings.Join(strings.FieldsFunc(cell, func(r rune) bool {
		return r == '\t' || r == '\n' || r == '\r' || r == '\v' || r == '\f'
	}), " ")
	if cell == "" {
		return "-"
	}
	return cell
}

// Fields are names with values, one per line, the values aligned.
type Fields struct {
	rows [][2]string
}

// Add adds a line; one without a value is left out.
func (f *Fields) Add(name, value string) {
	if value != "" {
		f.rows = append(f.rows, [2]string{name, oneLine(value)})
	}
}

// Write writes the lines with the given indentation.
func (f *Fields) Write(w io.Writer, indent string) error {
	width := 0
	for _, row := range f.rows {
		width = max(width, len(row[0]))
	}
	for _, row := range f.rows {
		if _, err := fmt.Fprintf(w, "%s%-*s  %s\n", indent, width, row[0], row[1]); err != nil {
			return err
		}
	}
	return nil
}

// Message writes a reply as indented JSON with lowerCamel names. Fields that
// hold their default are written too, so that scripts can rely on them.
func Message(w io.Writer, m proto.Message) error {
	raw, err := marshal(m)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := json.Indent(&buf, raw, "", "  "); err != nil {
		return fmt.Errorf("indent JSON: %w", err)
	}
	buf.WriteByte('\n')
	_, err = w.Write(buf.Bytes())
	return err
}

// MessageLine writes a message of a stream as one line of JSON.
func MessageLine(w io.Writer, m proto.Message) error {
	raw, err := marshal(m)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	// protojson varies its white space on purpose; compacting takes that out.
	if err := json.Compact(&buf, raw); err != nil {
		return fmt.Errorf("compact JSON: %w", err)
	}
	buf.WriteByte('\n')
	_, err = w.Write(buf.Bytes())
	return err
}

func marshal(m proto.Message) ([]byte, error) {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write %s as JSON: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return raw, nil
}

// Value writes any Go value as indented JSON.
func Value(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Ago tells a time by its distance from now: "3m ago", "in 2h", "-" when unset.
func Ago(now time.Time, t *timestamppb.Timestamp) string {
	if t == nil || (t.GetSeconds() == 0 && t.GetNanos() == 0) {
		return "-"
	}
	d := now.Sub(t.AsTime())
	switch {
	case d < -time.Second:
		return "in " + coarse((-d).Round(time.Second))
	case d < time.Second:
		return "just now"
	default:
		return coarse(d) + " ago"
	}
}

func coarse(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// Took tells how long something took: "80ms", "1.2s", "2m 3s", "1h 4m".
func Took(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", float64(d.Milliseconds()/100)/10)
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	}
}

// Bytes tells a size: "512 B", "8 KiB", "1.5 MiB".
func Bytes(n uint64) string {
	const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30
	switch {
	case n < kib:
		return fmt.Sprintf("%d B", n)
	case n < mib:
		return trimZero(float64(n)/kib) + " KiB"
	case n < gib:
		return trimZero(float64(n)/mib) + " MiB"
	default:
		return trimZero(float64(n)/gib) + " GiB"
	}
}

func trimZero(f float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0")
}

// Count is a number with its noun: "1 line", "2 lines".
func Count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Enum is the word for people of a protobuf enum value: the name without its
// prefix, in lower case. STAGE_STATE_FAILED with prefix STAGE_STATE_ is "failed".
func Enum(value fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(value.String(), prefix))
}
