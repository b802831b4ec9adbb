package version

import (
	"fmt"
	"strings"
)

const documentHead = `# Protocol versions

This page is generated from version/releases.go by ` + "`make generate`" + `.

Two components work together if the ranges of the protocol between them overlap; they then use the highest common
version. A protocol version is an integer from 1 up. ` + "`api`" + ` is spoken by the CLI and runners to servers,
` + "`entrypoint`" + ` by the entrypoint to servers, ` + "`node`" + ` between servers.

Consecutive releases always overlap in every protocol, so each component can be upgraded on its own. A server, which
alone stores state, upgrades only from the release just before it.

| release | api | entrypoint | node | what is new |
|---|---|---|---|---|
`

// Markdown returns the table of releases as the page that people read.
func Markdown() string {
	var page strings.Builder
	page.WriteString(documentHead)
	for _, row := range Releases() {
		fmt.Fprintf(&page, "| %s | %s | %s | %s | %s |\n", row.Name, row.API, row.Entrypoint, row.Node, row.Changes)
	}
	return page.String()
}

// String returns "3" or "3 to 5".
func (s Span) String() string {
	if s.Min == s.Current {
		return fmt.Sprint(s.Current)
	}
	return fmt.Sprintf("%d to %d", s.Min, s.Current)
}
