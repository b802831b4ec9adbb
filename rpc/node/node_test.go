package node_test

import (
	"context"
	"testing"
	"time"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/node"
	"waypoint/rpc/rpctest"
)

// parts answers as the parts of a node would.
type parts struct {
	leader  bool
	applied []*commandpb.Command
	removed string
}

func (p *parts) ApplyBatch(_ context.Context, commands []*commandpb.Command) ([]*commandpb.Result, error) {
	if !p.leader {
		return nil, errs.New(errs.Unavailable, "not the leader")
	}
	p.applied = commands
	return make([]*commandpb.Result, len(commands)), nil
}

func (p *parts) ReadIndex(context.Context) (string, uint64, error) { return "epoch", 17, nil }
func (p *parts) ConfirmTerm() uint64                               { return 4 }
func (p *parts) Clock() time.Time                                  { return time.Unix(5, 6) }

func (p *parts) RemoveAsLeader(_ context.Context, req *nodepb.RemoveNodeRequest) (uint64, error) {
	if !p.leader {
		return 0, errs.New(errs.Unavailable, "not the leader")
	}
	p.removed = req.GetNodeId()
	return 18, nil
}

func (p *parts) Renew(_ context.Context, renewals []*nodepb.Renewal) []bool {
	if !p.leader {
		return nil
	}
	return make([]bool, len(renewals))
}

func (p *parts) JobOutput(_ context.Context, fence *deploymentpb.Fence, offset uint64, send func(*nodepb.JobOutputResponse) error) error {
	return send(&nodepb.JobOutputResponse{Data: []byte(fence.GetJobId()), Offset: offset, Ended: true})
}

func TestNodeAnswersOtherNodes(t *testing.T) {
	f := rpctest.New(t)
	p := &parts{leader: true}
	server := f.Serve(node.New(node.Config{Cluster: p, Leases: p, Outputs: p}))
	client := nodepb.NewNodeServiceClient(server.DialNode(ids.New()))

	apply := &nodepb.ApplyRequest{Commands: []*commandpb.Command{{RequestId: "1"}, {RequestId: "2"}}}
	if r, err := client.Apply(t.Context(), apply); err != nil || len(r.GetResults()) != 2 || len(p.applied) != 2 {
		t.Errorf("apply: %v, %v", r, err)
	}
	if r, err := client.ReadIndex(t.Context(), &nodepb.ReadIndexRequest{}); err != nil || r.GetEpoch() != "epoch" || r.GetIndex() != 17 {
		t.Errorf("read index: %v, %v", r, err)
	}
	if r, err := client.Confirm(t.Context(), &nodepb.ConfirmRequest{Term: 3}); err != nil || r.GetTerm() != 4 || r.GetTime() != 5e9+6 {
		t.Errorf("confirm: %v, %v", r, err)
	}
	renew := &nodepb.RenewLeasesRequest{Renewals: []*nodepb.Renewal{{}, {}}}
	if r, err := client.RenewLeases(t.Context(), renew); err != nil || len(r.GetGranted()) != 2 {
		t.Errorf("renew: %v, %v", r, err)
	}
	if r, err := client.RemoveNode(t.Context(), &nodepb.RemoveNodeRequest{NodeId: "n3"}); err != nil || r.GetIndex() != 18 || p.removed != "n3" {
		t.Errorf("remove: %v, %v", r, err)
	}
	output, err := client.JobOutput(t.Context(), &nodepb.JobOutputRequest{Fence: &deploymentpb.Fence{JobId: "job"}, Offset: 5})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := output.Recv(); err != nil || string(r.GetData()) != "job" || r.GetOffset() != 5 || !r.GetEnded() {
		t.Errorf("job output: %v, %v", r, err)
	}

	p.leader = false
	if _, err := client.Apply(t.Context(), apply); !errs.Is(errs.FromStatus(err), errs.Unavailable) {
		t.Errorf("apply on a follower: %v", err)
	}
	if _, err := client.RenewLeases(t.Context(), renew); !errs.Is(errs.FromStatus(err), errs.Unavailable) {
		t.Errorf("renew on a follower: %v", err)
	}
}

func TestExecBeginsWithOpen(t *testing.T) {
	f := rpctest.New(t)
	server := f.Serve(node.New(node.Config{}))
	stream, err := nodepb.NewNodeServiceClient(server.DialNode(ids.New())).Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&execpb.Input{Kind: &execpb.Input_Close{Close: true}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errs.Is(errs.FromStatus(err), errs.Invalid) {
		t.Errorf("ended with %v", err)
	}
}
