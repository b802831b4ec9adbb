// Command waypoint-entrypoint runs an application and keeps it connected to
// a Waypoint cluster. See package entrypoint.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"waypoint/entrypoint"
	"waypoint/version"
)

const (
	memoryLimit = 32 << 20 // bytes; a soft limit that makes the collector work harder
	growth      = 50       // percent; the usual 100 leaves half a MiB more resident after exec sessions
	threads     = 2        // that run Go code at a time
)

func main() {
	cfg := entrypoint.DefaultConfig()
	// Set here, not in the environment, which the command inherits.
	runtime.MemProfileRate = 0 // nobody reads the profile
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(growth)
	runtime.GOMAXPROCS(min(threads, runtime.NumCPU()))

	if len(os.Args) == 2 {
		switch os.Args[1] {
		case "--help", "-h":
			fmt.Print(entrypoint.Help())
			return
		case "--version":
			fmt.Printf("waypoint-entrypoint %s (%s)\n", version.Release, version.Commit)
			return
		}
	}
	cfg, err := cfg.FromEnviron(os.Args[1:], os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, "waypoint-entrypoint:", err)
		os.Exit(2)
	}
	cfg.Token = strings.Clone(cfg.Token) // the original is overwritten next
	entrypoint.HideSecrets()
	os.Exit(entrypoint.Run(context.Background(), cfg))
}
