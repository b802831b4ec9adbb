package version

import "waypoint/api/versionpb"

// Span is the range of versions of one protocol: from Min to Current, both
// spoken.
type Span struct{ Min, Current uint32 }

// ReleaseRow is what one release speaks.
type ReleaseRow struct {
	Name       string // "0.1": patch releases never change a range
	API        Span
	Entrypoint Span
	Node       Span
	Changes    string // what is new in the protocols, in one line
}

// Ranges returns the row's spans in the form that is sent.
func (r ReleaseRow) Ranges() *versionpb.Ranges {
	return &versionpb.Ranges{Api: r.API.proto(), Entrypoint: r.Entrypoint.proto(), Node: r.Node.proto()}
}

func (s Span) proto() *versionpb.Range {
	return &versionpb.Range{Min: s.Min, Current: s.Current}
}

// Releases is the table of all releases, oldest first; the last row is this
// build. A row, once released, is never changed. A new row must overlap the
// one before it in every protocol: otherwise no component could be upgraded
// while the others still run.
func Releases() []ReleaseRow {
	return []ReleaseRow{
		{
			Name:       "0.1",
			API:        Span{1, 1},
			Entrypoint: Span{1, 1},
			Node:       Span{1, 1},
			Changes:    "The first version of each protocol.",
		},
	}
}
