// Package version says what this build is: its release, its commit and the
// protocol ranges it speaks, and keeps the table of the ranges that each
// release spoke.
//
// It must not know how ranges are compared or sent: that is package protocol.
package version

import "waypoint/api/versionpb"

// Release and Commit are set by the linker (see GNUmakefile) and are never
// changed after that. Without it they say that the build is of unreleased code.
var (
	Release = "0.1.0-dev" // semantic version
	Commit  = "unknown"   // short git hash, with "-dirty" if the tree was changed
)

// Build describes this build.
func Build() *versionpb.Build {
	return &versionpb.Build{Release: Release, Commit: Commit, Ranges: Ranges()}
}

// Ranges returns what this build speaks: the ranges of the newest release in
// the table. The caller may change the result.
func Ranges() *versionpb.Ranges {
	releases := Releases()
	return releases[len(releases)-1].Ranges()
}
