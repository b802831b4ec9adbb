package entrypoint

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// built is where the binaries of this run are. It is set once, before any test.
var built struct {
	dir        string // readable by every user
	entrypoint string
	child      string // testdata/child
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	// Parallel tests here mostly wait, so that they need no processor each.
	flag.Parse()
	if err := flag.Set("test.parallel", "32"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// What is ignored here, as under nohup, would be in everything that a test
	// starts. What is caught is not.
	for n := syscall.Signal(1); n <= 64; n++ {
		if signal.Ignored(n) {
			signal.Notify(make(chan os.Signal, 1), n)
		}
	}
	defer func() { _ = os.RemoveAll(built.dir) }()
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer endCluster()
	return m.Run()
}

// build makes the binaries, the entrypoint as a release does.
func build() error {
	if os.Geteuid() != 0 {
		return errors.New("these tests make network, mount and process namespaces: run them as root")
	}
	for _, tool := range []string{"ip", "unshare", "setpriv", "strace", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: run \"make setup\"", err)
		}
	}
	dir, err := os.MkdirTemp("", "waypoint-entrypoint-")
	if err != nil {
		return err
	}
	built.dir, built.entrypoint, built.child = dir, filepath.Join(dir, "waypoint-entrypoint"), filepath.Join(dir, "child")
	// Some run as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := buildEntrypoint(dir, os.Environ()); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-o", built.child, "./testdata/child")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the child: %w\n%s", err, out)
	}
	return nil
}

func buildEntrypoint(dir string, env []string) error {
	cmd := exec.Command("../../scripts/build", dir, "waypoint-entrypoint")
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the entrypoint: %w\n%s", err, out)
	}
	return nil
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
