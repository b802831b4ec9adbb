package version_test

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/version"
)

// document is the page that shows the table to people.
const document = "../docs/protocol-versions.md"

func TestConsecutiveReleasesOverlapInEveryProtocol(t *testing.T) {
	table := version.Releases()
	for i := range len(table) - 1 {
		older, newer := table[i], table[i+1]
		for name, pair := range map[string][2]version.Span{
			"api":        {older.API, newer.API},
			"entrypoint": {older.Entrypoint, newer.Entrypoint},
			"node":       {older.Node, newer.Node},
		} {
			if !overlap(pair[0], pair[1]) {
				t.Errorf("%s: releases %s (%v) and %s (%v) have no version in common", name, older.Name, pair[0], newer.Name, pair[1])
			}
			if pair[1].Current < pair[0].Current {
				t.Errorf("%s: release %s goes back from version %d to %d", name, newer.Name, pair[0].Current, pair[1].Current)
			}
		}
	}
}

func TestSpansAreRangesFromOneUp(t *testing.T) {
	for _, row := range version.Releases() {
		for name, s := range map[string]version.Span{"api": row.API, "entrypoint": row.Entrypoint, "node": row.Node} {
			if s.Min < 1 || s.Min > s.Current {
				t.Errorf("release %s: %s %v is not a range", row.Name, name, s)
			}
		}
	}
}

func TestOverlapKnowsAGap(t *testing.T) {
	if overlap(version.Span{Min: 1, Current: 2}, version.Span{Min: 3, Current: 4}) {
		t.Error("1-2 and 3-4 overlap")
	}
	if !overlap(version.Span{Min: 1, Current: 3}, version.Span{Min: 3, Current: 4}) {
		t.Error("1-3 and 3-4 do not overlap")
	}
}

func TestThisBuildIsTheLastRow(t *testing.T) {
	table := version.Releases()
	last := table[len(table)-1]
	build := version.Build()
	if !strings.HasPrefix(build.GetRelease(), last.Name+".") {
		t.Errorf("this build is %q, the last row %q", build.GetRelease(), last.Name)
	}
	if !regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`).MatchString(build.GetRelease()) {
		t.Errorf("release %q is not a semantic version", build.GetRelease())
	}
	if !proto.Equal(build.GetRanges(), last.Ranges()) {
		t.Errorf("this build speaks %v, the last row %v", build.GetRanges(), last.Ranges())
	}
	if build.GetCommit() == "" {
		t.Error("this build names no commit")
	}
}

func TestBuildsAreIndependent(t *testing.T) {
	version.Build().GetRanges().GetApi().Current = 99
	if version.Build().GetRanges().GetApi().GetCurrent() == 99 {
		t.Error("a caller can change what this build says of itself")
	}
}

var update = flag.Bool("update", false, "write "+document+" instead of checking it")

func TestTheDocumentShowsTheTable(t *testing.T) {
	want := version.Markdown()
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/protocol-versions.md does not show the table: run `make generate`")
	}
}

func overlap(a, b version.Span) bool { return a.Min <= b.Current && b.Min <= a.Current }
