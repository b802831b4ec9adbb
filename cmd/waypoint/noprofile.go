//go:build !pprof

package main

// profiled runs main, as it is.
func profiled(main func() int) int { return main() }
