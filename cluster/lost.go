package cluster

import (
	"context"
	"fmt"
	"time"

	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/runnerpb"
)

// markLost says of nodes that are gone that what was attached to them is lost,
// after a grace in which most of it attaches elsewhere.
func (w *watch) markLost(ctx context.Context, listed map[string]*clusterpb.Node, now time.Time) error {
	for id := range listed {
		t, gone := w.gone[id]
		if !gone || now.Sub(t) < w.tune.LostGrace {
			continue
		}
		for _, boot := range w.attachedBoots(id) {
			_, err := w.lead.Apply(ctx, &commandpb.Command{Kind: &commandpb.Command_NodeLost{
				NodeLost: &commandpb.NodeLost{NodeId: id, BootId: boot},
			}})
			if err != nil {
				return fmt.Errorf("mark what was on node %s lost: %w", id, err)
			}
			w.logger.Info("node is gone: what was attached to it is marked lost", "node", id)
		}
	}
	return nil
}

// attachedBoots returns the boots of a node that something is still attached to
// in the state.
func (w *watch) attachedBoots(nodeID string) []string {
	tx := w.store.Read()
	seen := make(map[string]bool)
	for _, i := range tx.InstancesOfNode(nodeID) {
		if i.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED {
			seen[i.GetNodeBoot()] = true
		}
	}
	for _, r := range tx.RunnersOfNode(nodeID) {
		if r.GetState() == runnerpb.State_STATE_ATTACHED {
			seen[r.GetNodeBoot()] = true
		}
	}
	for _, s := range tx.ExecSessionsOn(nodeID) {
		seen[s.GetNodeBoot()] = true
	}
	out := make([]string, 0, len(seen))
	for boot := range seen {
		out = append(out, boot)
	}
	return out
}
