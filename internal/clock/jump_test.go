//go:build clockjump

package clock

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTheClockJumpsWhenTheFileIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "offset")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Setenv(envFile, path)
	for _, want := range []time.Duration{0, 2 * time.Hour, -30 * time.Hour, 0} {
		if _, err := f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(want)), 0); err != nil {
			t.Fatal(err)
		}
		if off := Now().Sub(time.Now().Round(0)); (off - want).Abs() > time.Minute {
			t.Errorf("the clock is off by %v, want %v", off, want)
		}
	}
}
