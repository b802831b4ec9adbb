// Package protocol holds the rules of working together across versions: how
// ranges travel, which version two sides use, which server release may follow
// which, and what an upgrade would leave behind. Everything in it is a pure
// function.
//
// It must not know about connections or state: callers hand it what the other
// side said.
package protocol

import (
	"waypoint/api/versionpb"
	"waypoint/version"
)

// The names of the protocols.
const (
	API        = "api"        // CLI, UI and runners to servers
	Entrypoint = "entrypoint" // entrypoints to servers
	Node       = "node"       // servers to servers, and the commands in the log
)

// The metadata keys that calls and replies carry.
const (
	HeaderRanges        = "waypoint-protocols"  // call: EncodeRanges of the client
	HeaderRequestID     = "waypoint-request-id" // call: a ULID, the same in every retry
	HeaderIndex         = "waypoint-index"      // both: EncodeIndex; replies of unary calls carry it in the trailer
	HeaderStale         = "waypoint-stale"      // call: "1" if an old answer will do
	HeaderTime          = "waypoint-time"       // reply: the server's clock, Unix milliseconds, decimal
	HeaderAuthorization = "authorization"       // call: "Bearer " and the token's text
)

// Current returns the ranges that this build speaks. The caller may change
// the result.
func Current() *versionpb.Ranges { return version.Ranges() }

// Of returns the range of the named protocol in ranges: nil if the side does
// not speak it or the name is not one of API, Entrypoint and Node.
func Of(ranges *versionpb.Ranges, name string) *versionpb.Range {
	switch name {
	case API:
		return ranges.GetApi()
	case Entrypoint:
		return ranges.GetEntrypoint()
	case Node:
		return ranges.GetNode()
	}
	return nil
}
