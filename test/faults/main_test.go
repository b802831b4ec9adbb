//go:build linux

package faults

import (
	"fmt"
	"os"
	"testing"

	"waypoint/test/harness"
)

// binDir holds the binaries of this run. It is set once, before any test.
var binDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "waypoint-faults-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	// FAULTS_TAGS builds a product that is broken on purpose: the suite must
	// find out.
	tags := []string{"clockjump"}
	if more := os.Getenv("FAULTS_TAGS"); more != "" {
		tags = append(tags, more)
	}
	if err := harness.Build(dir, tags...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
