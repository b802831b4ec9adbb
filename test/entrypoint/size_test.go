package entrypoint

import (
	"os"
	"path/filepath"
	"testing"
)

const maxSize = 10_000_000 // bytes, as the design promises

// What a release would hold stays small. That it reaches no forbidden package
// is tested in test/imports.
func TestBinaryIsSmall(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			dir := t.TempDir()
			check(t, buildEntrypoint(dir, append(os.Environ(), "GOOS=linux", "GOARCH="+arch)))
			info, err := os.Stat(filepath.Join(dir, "waypoint-entrypoint"))
			check(t, err)
			if info.Size() > maxSize {
				t.Errorf("the binary has %d bytes, at most %d are promised: find what it reaches now with \"go list -deps ./cmd/waypoint-entrypoint\"", info.Size(), maxSize)
			}
			t.Logf("linux/%s: %d bytes, %d below the limit", arch, info.Size(), maxSize-info.Size())
		})
	}
}
