package protocol_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/api/errpb"
	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/protocol"
	"waypoint/version"
)

func TestBothSidesUseTheHighestCommonVersion(t *testing.T) {
	tests := []struct {
		server, client *versionpb.Range
		want           uint32
	}{
		{span(1, 1), span(1, 1), 1},
		{span(3, 5), span(4, 5), 5},
		{span(5, 6), span(4, 5), 5},
		{span(4, 5), span(5, 6), 5},
		{span(1, 9), span(2, 3), 3},
	}
	for _, tt := range tests {
		got, err := protocol.Negotiate(protocol.API, tt.server, tt.client)
		if got != tt.want || err != nil {
			t.Errorf("server %v, client %v: %d, %v, want %d", tt.server, tt.client, got, err, tt.want)
		}
	}
}

func TestNoCommonVersionSaysWhichSideToUpgrade(t *testing.T) {
	tests := []struct {
		name           string
		server, client *versionpb.Range
		upgrade, text  string
	}{
		{"client too old", span(3, 4), span(1, 2), protocol.UpgradeClient,
			"the client speaks versions 1 to 2 of the entrypoint protocol, the server versions 3 to 4: upgrade the client"},
		{"server too old", span(1, 1), span(2, 3), protocol.UpgradeServer,
			"the client speaks versions 2 to 3 of the entrypoint protocol, the server version 1: upgrade the server"},
		{"client says nothing", span(1, 2), nil, protocol.UpgradeClient,
			"the client speaks no version of the entrypoint protocol, the server versions 1 to 2: upgrade the client"},
		{"server does not know it", nil, span(1, 2), protocol.UpgradeServer,
			"the client speaks versions 1 to 2 of the entrypoint protocol, the server no version: upgrade the server"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := protocol.Negotiate(protocol.Entrypoint, tt.server, tt.client)
			var e *errs.Error
			if !errors.As(err, &e) || e.Kind != errs.Protocol {
				t.Fatalf("got %v, want an error of kind Protocol", err)
			}
			if e.Message != tt.text {
				t.Errorf("text is %q, want %q", e.Message, tt.text)
			}
			want := &errpb.ProtocolMismatch{
				Protocol:  protocol.Entrypoint,
				ServerMin: tt.server.GetMin(), ServerCurrent: tt.server.GetCurrent(),
				ClientMin: tt.client.GetMin(), ClientCurrent: tt.client.GetCurrent(),
				Upgrade: tt.upgrade,
			}
			if !proto.Equal(e.Mismatch, want) {
				t.Errorf("detail is %v, want %v", e.Mismatch, want)
			}
		})
	}
}

// The compatibility promise's worked example: invented releases.
func TestWorkedExampleOfThePromise(t *testing.T) {
	cli := protocol.Part{Kind: protocol.PartCLI, Name: "cli", Release: "5.3.2", Ranges: &versionpb.Ranges{Api: span(4, 5)}}
	newer := protocol.Part{Kind: protocol.PartEntrypoint, Name: "entrypoint a", Release: "4.1.0", Ranges: &versionpb.Ranges{Entrypoint: span(1, 3)}}
	older := protocol.Part{Kind: protocol.PartEntrypoint, Name: "entrypoint b", Release: "3.3.0", Ranges: &versionpb.Ranges{Entrypoint: span(1, 2)}}
	tests := []struct {
		name    string
		servers *versionpb.Ranges
		part    protocol.Part
		version uint32 // 0: may not stay
		advice  string
	}{
		{"now, cli", &versionpb.Ranges{Api: span(3, 5)}, cli, 5, "may stay: version 5 of the api protocol is common"},
		{"now, entrypoint 4.1.0", &versionpb.Ranges{Entrypoint: span(1, 3)}, newer, 3, "may stay: version 3 of the entrypoint protocol is common"},
		{"now, entrypoint 3.3.0", &versionpb.Ranges{Entrypoint: span(1, 3)}, older, 2, "upgrade it some day"},
		{"then, cli", &versionpb.Ranges{Api: span(5, 6), Entrypoint: span(3, 4)}, cli, 5, "upgrade it some day"},
		{"then, entrypoint 4.1.0", &versionpb.Ranges{Api: span(5, 6), Entrypoint: span(3, 4)}, newer, 3, "may stay"},
		{"then, entrypoint 3.3.0", &versionpb.Ranges{Api: span(5, 6), Entrypoint: span(3, 4)}, older, 0, "must be rebuilt and redeployed before the servers are upgraded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			verdicts := protocol.Report(tt.servers, []protocol.Part{tt.part})
			if len(verdicts) != 1 {
				t.Fatalf("%d verdicts on one part", len(verdicts))
			}
			v := verdicts[0]
			if v.Version != tt.version || v.Stays != (tt.version != 0) || !strings.Contains(v.Advice, tt.advice) {
				t.Errorf("verdict is stays=%v version=%d %q, want version %d and %q", v.Stays, v.Version, v.Advice, tt.version, tt.advice)
			}
			name := protocol.API
			if tt.part.Kind == protocol.PartEntrypoint {
				name = protocol.Entrypoint
			}
			got, err := protocol.Negotiate(name, protocol.Of(tt.servers, name), protocol.Of(tt.part.Ranges, name))
			if got != tt.version || (err == nil) != v.Stays {
				t.Errorf("a call negotiates %d, %v: not what the report says", got, err)
			}
		})
	}
}

func TestReportJudgesEachPartByItsOwnProtocol(t *testing.T) {
	all := func(low, high uint32) *versionpb.Ranges {
		return &versionpb.Ranges{Api: span(low, high), Entrypoint: span(low, high), Node: span(low, high)}
	}
	target := &versionpb.Ranges{Api: span(2, 3), Entrypoint: span(1, 3), Node: span(3, 3)}
	parts := []protocol.Part{
		{Kind: protocol.PartRunner, Name: "runner", Ranges: all(1, 2)},
		{Kind: protocol.PartEntrypoint, Name: "entrypoint", Ranges: all(1, 1)},
		{Kind: protocol.PartNode, Name: "node", Ranges: all(1, 2)},
		{Kind: protocol.PartCLI, Name: "cli from the future", Ranges: all(4, 4)},
	}
	want := []struct {
		version uint32
		advice  string
	}{
		{2, "some day"},
		{1, "some day"},
		{0, "must be upgraded before the servers are upgraded: it speaks versions 1 to 2 of the node protocol, they will speak version 3"},
		{0, "is too new"},
	}
	for i, v := range protocol.Report(target, parts) {
		if v.Part.Name != parts[i].Name || v.Version != want[i].version || !strings.Contains(v.Advice, want[i].advice) {
			t.Errorf("%s: version %d, %q, want %d, %q", v.Part.Name, v.Version, v.Advice, want[i].version, want[i].advice)
		}
	}
}

func TestThisBuildWorksWithItself(t *testing.T) {
	if !proto.Equal(protocol.Current(), version.Build().GetRanges()) {
		t.Error("what is sent is not what the build says")
	}
	for _, name := range []string{protocol.API, protocol.Entrypoint, protocol.Node} {
		r := protocol.Of(protocol.Current(), name)
		if got, err := protocol.Negotiate(name, r, r); err != nil || got != r.GetCurrent() {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}
