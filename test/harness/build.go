package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Build builds both binaries into dir, the entrypoint as a release has it, with
// more build tags than usual. It must be called within the module.
func Build(dir string, tags ...string) error {
	if err := BuildServer(dir, tags...); err != nil {
		return err
	}
	return build(dir, "waypoint-entrypoint", append([]string{"grpcnotrace"}, tags...))
}

// BuildServer builds only the binary with the server and the commands.
func BuildServer(dir string, tags ...string) error { return build(dir, "waypoint", tags) }

func build(dir, name string, tags []string) error {
	args := []string{"build", "-tags=" + strings.Join(append([]string{"hashicorpmetrics"}, tags...), ","), "-o", dir, "waypoint/cmd/" + name}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
