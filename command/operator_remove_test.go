package command

import (
	"slices"
	"testing"

	"waypoint/api/clusterpb"
	"waypoint/errs"
)

// The call names the node by its id: one that is repeated after its answer was
// lost would not find the name any more.
func TestANodeIsRemovedByItsID(t *testing.T) {
	const members, remove = "waypoint.cluster.Cluster/Members", "waypoint.cluster.Cluster/RemoveNode"
	w := newWorld(t)
	node := &clusterpb.Node{Id: idB, Name: "n2"}
	w.cluster.answer(members, &clusterpb.MembersResponse{Members: []*clusterpb.Member{{Node: &clusterpb.Node{Id: idA, Name: "n1"}}, {Node: node}}})
	w.cluster.answer(remove, &clusterpb.RemoveNodeResponse{Node: node})
	said := "Removed node n2 (" + idB + "). Another node may take its name.\n"
	w.prints(said, "operator", "raft", "remove-peer", "n2")
	w.prints(said, "operator", "raft", "remove-peer", idB, "-force")
	var asked []*clusterpb.RemoveNodeRequest
	for _, m := range w.cluster.seen {
		if r, ok := m.(*clusterpb.RemoveNodeRequest); ok {
			asked = append(asked, r)
		}
	}
	if len(asked) != 2 || asked[0].GetNode() != idB || asked[0].GetForce() || asked[1].GetNode() != idB || !asked[1].GetForce() {
		t.Errorf("asked %v", asked)
	}

	// A repeated call is answered by one that does not know the node any more.
	w.cluster.answer(remove, &clusterpb.RemoveNodeResponse{Node: &clusterpb.Node{Id: idB}})
	w.prints(said, "operator", "raft", "remove-peer", "n2")

	// A list that cannot be had is no reason not to try.
	w.cluster.refuse(members, errs.Unavailable, "no list")
	w.cluster.refuse(remove, errs.Conflict, "without node n3, 1 of 2 voters would answer and 2 are needed")
	w.fails(codeFailed, "2 are needed", "operator", "raft", "remove-peer", "n3")
	if n := len(w.cluster.calls); !slices.Contains(w.cluster.calls[n-2:], remove) {
		t.Errorf("called %v", w.cluster.calls)
	}
}
