//go:build !linux

package client

import "syscall"

// control sets no socket options on this system.
func control(_, _ string, _ syscall.RawConn) error { return nil }
