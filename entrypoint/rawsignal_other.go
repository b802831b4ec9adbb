//go:build !linux || (!amd64 && !arm64)

package entrypoint

import "os"

// catchRest is for the systems that the entrypoint is built for.
func catchRest(chan<- os.Signal) error { return nil }
