package entrypoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// spying is what a child tries that has the entrypoint's own user.
const spying = `
	echo "user $(id -u)"
	for f in environ mem maps auxv syscall; do
		if head -c 1 /proc/$PPID/$f >/dev/null 2>&1; then echo "can read $f"; else echo "cannot read $f"; fi
	done
	for f in fd map_files; do
		if ls /proc/$PPID/$f >/dev/null 2>&1; then echo "can list $f"; else echo "cannot list $f"; fi
	done
	if timeout 1 strace -p $PPID -o /dev/null 2>&1 | grep -q "not permitted"; then echo "cannot trace"; else echo "can trace"; fi
	echo "cmdline: $(tr '\0' ' ' </proc/$PPID/cmdline | tr -d '\n')"
	echo "environment:"; env; echo "end of environment"
	trap "exit 4" TERM; echo ready; while :; do sleep 60 & wait $!; done`

// A child of the same user can neither read the entrypoint's token nor has it.
func TestSecretsStayWithTheEntrypoint(t *testing.T) {
	d := deploy(t)
	path := filepath.Join(built.dir, "token-"+d.id)
	check(t, os.WriteFile(path, []byte(d.token+"\n"), 0o600))
	check(t, os.Chown(path, nobody, nobody))
	for _, row := range []struct {
		name string
		env  []string
	}{
		{"token in the environment", d.env(d.s.addr)},
		{"token in a file", append(d.env(d.s.addr)[:3:3], "WAYPOINT_ENTRYPOINT_TOKEN_FILE="+path)},
	} {
		t.Run(row.name, func(t *testing.T) {
			user := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			p := start(t, launch{attr: user, env: append(row.env, "OWN=kept")}, "sh", "-c", spying)
			p.prints("\nready\n")
			out := p.out.String()
			for _, want := range []string{
				"user 65534", "cannot read environ", "cannot read mem", "cannot read maps", "cannot list fd", "cannot trace",
				"OWN=kept", "GREETING=" + d.greeting,
			} {
				if !strings.Contains(out, want+"\n") {
					t.Errorf("%q is not in what the child found out", want)
				}
			}
			for _, secret := range []string{d.token, "WAYPOINT_ENTRYPOINT_"} {
				if strings.Contains(out, secret) {
					t.Errorf("the child has found %q", secret)
				}
			}
			// Not even root finds it where the kernel keeps the environment.
			environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid()))
			check(t, err)
			if strings.Contains(string(environ), d.token) {
				t.Errorf("the token is in the entrypoint's environment")
			}
			for line := range strings.Lines(out) {
				if strings.Contains(line, "can") && !strings.Contains(line, "cmdline") {
					t.Logf("%-26s the child %s", row.name, strings.TrimSpace(line))
				}
			}
			p.signal(syscall.SIGTERM)
			if got := p.code(); got != 4 {
				t.Errorf("exit status %d", got)
			}
		})
	}
}
