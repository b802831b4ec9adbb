package version_test

import (
	"testing"

	"waypoint/api/versionpb"
	"waypoint/rpc/rpctest"
	"waypoint/rpc/version"
)

func TestAnybodyLearnsWhatANodeSpeaks(t *testing.T) {
	f := rpctest.New(t)
	server := f.Serve(version.New(version.Config{Reader: f.Reader(), NodeID: f.NodeID}))
	for name, conn := range map[string]versionpb.VersionClient{
		"no headers": versionpb.NewVersionClient(server.DialBare()),
		"bad token":  versionpb.NewVersionClient(server.Dial("garbage")),
	} {
		answer, err := conn.Get(t.Context(), &versionpb.GetRequest{})
		if err != nil || answer.GetNodeId() != f.NodeID || answer.GetClusterId() != f.ClusterID || answer.GetBuild().GetRanges().GetApi().GetCurrent() == 0 {
			t.Errorf("%s: %v %v", name, answer, err)
		}
	}
}
