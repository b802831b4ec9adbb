package entrypoint

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The child's exit status is the entrypoint's.
func TestExitStatuses(t *testing.T) {
	t.Run("every status from 0 to 255", func(t *testing.T) {
		t.Parallel()
		began := time.Now()
		for want := range 256 {
			if got := start(t, launch{}, "sh", "-c", fmt.Sprintf("exit %d", want)).code(); got != want {
				t.Errorf("exit status %d, want %d", got, want)
			}
		}
		t.Logf("0 to 255: all came back, %s each", (time.Since(began) / 256).Round(time.Millisecond))
	})
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	rows := []struct {
		name string
		argv []string
		want int
	}{
		{"no such command", []string{"no-such-command"}, 127},
		{"no such file", []string{"/no/such/file"}, 127},
		{"no such interpreter", []string{file("lost", "#!/no/such/interpreter\n", 0o755)}, 127},
		{"not executable", []string{file("plain", "text", 0o644)}, 126},
		{"a folder", []string{dir}, 126},
		{"no program", []string{file("noise", "\x00\x01\x02", 0o755)}, 126},
		{"no command at all", nil, 2},
		{"killed with a core dump", []string{"sh", "-c", "ulimit -c unlimited; kill -ABRT $$"}, 134},
		{"a shell's own idea of a signal", []string{"sh", "-c", "sh -c 'kill -TERM $$'"}, 143},
	}
	for _, sig := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 30, 31, 35, 64} {
		rows = append(rows, struct {
			name string
			argv []string
			want int
		}{fmt.Sprintf("killed by signal %d", sig), []string{"sh", "-c", fmt.Sprintf("kill -%d $$", sig)}, 128 + sig})
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			began := time.Now()
			got := start(t, launch{}, row.argv...).code()
			if got != row.want {
				t.Errorf("exit status %d, want %d", got, row.want)
			}
			t.Logf("%-32s %3d after %s", row.name, got, time.Since(began).Round(time.Millisecond))
		})
	}
}

// The same where the entrypoint has to end the child, and where it is attached.
func TestExitStatusesOfAStoppedChild(t *testing.T) {
	for _, row := range []struct {
		name string
		argv []string
		sig  syscall.Signal
		want int
	}{
		{"TERM handled with a status", []string{built.child, "say", "33"}, syscall.SIGTERM, 33},
		{"TERM handled with status 0", []string{built.child, "say", "0"}, syscall.SIGTERM, 0},
		{"TERM by default", []string{"sh", "-c", "echo ready; exec sleep 600"}, syscall.SIGTERM, 143},
		{"INT by default", []string{"sh", "-c", "echo ready; exec sleep 600"}, syscall.SIGINT, 130},
		{"killed after its grace", []string{built.child, "signals"}, syscall.SIGTERM, 137},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, attached := range []bool{false, true} {
				env := []string{"WAYPOINT_ENTRYPOINT_GRACE=500ms"}
				if attached {
					d := deploy(t)
					env = append(env, d.env(d.s.addr)...)
				}
				p := start(t, launch{env: env}, row.argv...)
				p.prints("ready")
				began := time.Now()
				p.signal(row.sig)
				if got := p.code(); got != row.want {
					t.Errorf("attached %v: exit status %d, want %d", attached, got, row.want)
				}
				t.Logf("%-32s %3d after %-8s attached %v", row.name, row.want, time.Since(began).Round(time.Millisecond), attached)
			}
		})
	}
}
