package check

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxViolations bounds the violations that a verdict describes.
const maxViolations = 20

// Verdict is what a checker concludes.
type Verdict struct {
	Workload   string // names the files of Save
	Summary    string // what was done and seen, for people
	Violations []string

	more    int // violations that are not described
	excerpt []string
	history func(io.Writer) error
	picture func(io.Writer) error // nil: there is nothing to draw
}

// verdictOf begins a verdict about a history.
func verdictOf[T any](workload string, history []T) *Verdict {
	return &Verdict{Workload: workload, history: func(w io.Writer) error { return WriteLines(w, history) }}
}

// violated notes a broken promise.
func (v *Verdict) violated(format string, args ...any) {
	if len(v.Violations) == maxViolations {
		v.more++
		return
	}
	v.Violations = append(v.Violations, fmt.Sprintf(format, args...))
}

// Violated notes a broken promise that the workload itself has seen.
func (v *Verdict) Violated(format string, args ...any) { v.violated(format, args...) }

// Err is nil if no promise was broken.
func (v *Verdict) Err() error {
	switch n := len(v.Violations) + v.more; n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s: %s", v.Workload, v.Violations[0])
	default:
		return fmt.Errorf("%s: %d violations, the first: %s", v.Workload, n, v.Violations[0])
	}
}

// String is the verdict for people: all violations, and the part of the history
// that shows the first of them.
func (v *Verdict) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s", v.Workload, v.Summary)
	for _, one := range v.Violations {
		fmt.Fprintf(&text, "\n  VIOLATION: %s", one)
	}
	if v.more > 0 {
		fmt.Fprintf(&text, "\n  and %d more", v.more)
	}
	if len(v.Violations) > 0 && len(v.excerpt) > 0 {
		fmt.Fprintf(&text, "\n  from the history:\n    %s", strings.Join(v.excerpt, "\n    "))
	}
	return text.String()
}

// Save writes the history to NAME.jsonl below dir, and its picture, if there is
// one, to NAME.html. It returns the files.
func (v *Verdict) Save(dir string) (files []string, err error) {
	for _, part := range []struct {
		suffix string
		write  func(io.Writer) error
	}{{".jsonl", v.history}, {".html", v.picture}} {
		if part.write == nil {
			continue
		}
		name := filepath.Join(dir, v.Workload+part.suffix)
		f, err := os.Create(name)
		if err != nil {
			return files, err
		}
		if err := errors.Join(part.write(f), f.Close()); err != nil {
			return files, fmt.Errorf("write %s: %w", name, err)
		}
		files = append(files, name)
	}
	return files, nil
}
