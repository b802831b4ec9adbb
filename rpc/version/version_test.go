package version_test

import (
	"slices"
	"testing"

	"waypoint/api/authpb"
	"waypoint/api/versionpb"
	"waypoint/rpc/rpctest"
	"waypoint/rpc/version"
)

func TestAnybodyLearnsWhatANodeSpeaks(t *testing.T) {
	f := rpctest.New(t)
	server := f.Serve(version.New(version.Config{Reader: f.Reader(), NodeID: f.NodeID, Servers: f.Servers}))
	for name, conn := range map[string]versionpb.VersionClient{
		"no headers": versionpb.NewVersionClient(server.DialBare()),
		"bad token":  versionpb.NewVersionClient(server.Dial("garbage")),
	} {
		answer, err := conn.Get(t.Context(), &versionpb.GetRequest{})
		if err != nil || answer.GetNodeId() != f.NodeID || answer.GetClusterId() != f.ClusterID || answer.GetBuild().GetRanges().GetApi().GetCurrent() == 0 {
			t.Errorf("%s: %v %v", name, answer, err)
		}
		if len(answer.GetServers()) != 0 {
			t.Errorf("%s: it learns of %q", name, answer.GetServers())
		}
	}
}

func TestWhoHasATokenLearnsOfTheMembers(t *testing.T) {
	f := rpctest.New(t)
	server := f.Serve(version.New(version.Config{Reader: f.Reader(), NodeID: f.NodeID, Servers: f.Servers}))
	row, token := f.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "builder")
	conn := versionpb.NewVersionClient(server.Dial(token))
	answer, err := conn.Get(t.Context(), &versionpb.GetRequest{})
	if err != nil || !slices.Equal(answer.GetServers(), f.Servers()) {
		t.Errorf("%v %v", answer, err)
	}
	f.Revoke(row.GetId())
	if answer, err = conn.Get(t.Context(), &versionpb.GetRequest{}); err != nil || len(answer.GetServers()) != 0 {
		t.Errorf("revoked: %v %v", answer, err)
	}
}
