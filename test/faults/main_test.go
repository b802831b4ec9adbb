//go:build linux

package faults

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
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
	more := os.Getenv("FAULTS_TAGS")
	for _, args := range [][]string{
		{"build", "-tags=hashicorpmetrics,clockjump," + more, "-o", dir, "../../cmd/waypoint"},
		{"build", "-tags=hashicorpmetrics,grpcnotrace," + more, "-o", dir, "../../cmd/waypoint-entrypoint"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go %v: %v\n%s", args, err, out)
			return 1
		}
	}
	return m.Run()
}
