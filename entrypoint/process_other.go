//go:build !linux

package entrypoint

import (
	"errors"
	"os"
	"syscall"
)

// The entrypoint's binary is built for linux only. Elsewhere this package
// compiles, for the sake of tools that look at the whole module, and lacks
// what follows.

var errNotHere = errors.New("not on this system")

func becomeSubreaper() error { return errNotHere }

// HideSecrets takes the token out of this process's environment.
func HideSecrets() { _ = os.Unsetenv(EnvToken) }

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func ownsTerminal(*os.File, int) bool { return false }

func setForeground(*os.File, int) error { return errNotHere }

func shellWaits() bool { return false }

func stopOurselves() {}

func quietThread() {}

func foreground(*os.File) (int, error) { return 0, errNotHere }

func readNow(*os.File, []byte) (int, error) { return 0, errNotHere }

func sessionMembers(int) []int { return nil }

func openPTY() (controller, terminal *os.File, err error) { return nil, nil, errNotHere }

func resize(*os.File, uint32, uint32) error { return errNotHere }

func childAttr(*os.File, bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func sessionAttr(tty bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Setctty: tty}
}
