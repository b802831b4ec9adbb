//go:build !linux

package raftstore

import "os"

// syncData waits until a file is on disk.
func syncData(f *os.File) error { return f.Sync() }
