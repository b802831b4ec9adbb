// Package entrypoint holds the tests of what waypoint-entrypoint promises. They
// build the binary as a release does and run it as a process: under networks,
// servers and tokens that fail it, as PID 1, on a terminal, without privileges.
//
// It must not know how the entrypoint keeps its promises: what these tests see
// is what a container would. They need Linux, root, and the commands that
// scripts/setup installs.
package entrypoint
