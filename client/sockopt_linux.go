package client

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// notSentLowat keeps what waits unsent in the kernel small, so that a
// keystroke does not queue behind a download on the same connection.
const notSentLowat = 16 << 10

// control sets the socket options of a connection before it is made. A kernel
// without the option only loses the speed.
func control(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat)
	})
}
