package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// screen prints for a person: colours on a terminal, plain text elsewhere.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	color bool
}

func newScreen(f *os.File) *screen {
	info, err := f.Stat()
	return &screen{w: f, color: err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""}
}

func (s *screen) paint(code, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, format, args...)
}

func (s *screen) title(n int, text string) {
	s.printf("\n%s %s\n\n", s.paint("1;36", fmt.Sprintf("%d.", n)), s.paint("1", text))
}

// say prints a remark of the demo itself.
func (s *screen) say(format string, args ...any) {
	s.printf("  %s\n", fmt.Sprintf(format, args...))
}

// held prints a promise that was checked and held.
func (s *screen) held(format string, args ...any) {
	s.printf("  %s %s\n", s.paint("1;32", "✓"), fmt.Sprintf(format, args...))
}

// command prints what a user would type.
func (s *screen) command(args ...string) {
	for i, a := range args {
		if strings.Contains(a, " ") {
			args[i] = "'" + a + "'"
		}
	}
	s.printf("  %s %s\n", s.paint("1;33", "$"), s.paint("1", strings.Join(args, " ")))
}

// quote prints a program's output, indented.
func (s *screen) quote(text string) {
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		s.printf("    %s\n", s.paint("2", sc.Text()))
	}
}

func (s *screen) done(d time.Duration) {
	s.printf("\n%s %s\n", s.paint("1;32", "✓"), s.paint("1", fmt.Sprintf("Every step held (%.0f s).", d.Seconds())))
}

func (s *screen) fail(err error) {
	s.printf("\n%s %s\n", s.paint("1;31", "✗"), s.paint("1", err.Error()))
}
