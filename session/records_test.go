package session

import (
	"slices"
	"strings"
	"testing"
)

func TestRecordedCommandLineIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		argv []string
		args int
		cut  bool
	}{
		"short":           {[]string{"ls", "", "-l"}, 3, false},
		"a long argument": {[]string{"sh", strings.Repeat("é", recordArgv)}, 2, true},
		"many empty ones": {slices.Repeat([]string{""}, 100_000), recordArgv + 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			short, cut := shortened(tt.argv)
			if len(short) != tt.args || cut != tt.cut || len(strings.Join(short, " ")) > recordArgv {
				t.Errorf("%d arguments with %d bytes, cut: %v", len(short), len(strings.Join(short, " ")), cut)
			}
		})
	}
}
