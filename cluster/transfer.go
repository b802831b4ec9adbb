package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"

	"waypoint/cluster/gossip"
	"waypoint/cluster/raftnet"
)

// transferTries bounds the nodes that leadership is offered to.
const transferTries = 2

// transfer hands leadership to another voter, the one that lags least first. It
// returns nil once this node leads no more, and at once if nobody else votes.
func (l *leadership) transfer() error {
	candidates, voters := l.successors()
	if voters == 0 {
		return nil
	}
	if len(candidates) == 0 {
		return errors.New("hand over leadership: no other voter answers")
	}
	var failed []error
	for _, id := range candidates[:min(len(candidates), transferTries)] {
		err := l.raft.LeadershipTransferToServer(id, raft.ServerAddress(id)).Error()
		if err == nil || l.raft.State() != raft.Leader {
			return nil
		}
		failed = append(failed, fmt.Errorf("hand over leadership to %s: %w", id, err))
	}
	return errors.Join(failed...)
}

// successors returns the other voters that are there, the most caught-up first,
// and how many others there should be. Raft's own choice may be one that died in
// an idle cluster.
func (l *leadership) successors() (out []raft.ServerID, voters int) {
	future := l.raft.GetConfiguration()
	if future.Error() != nil {
		return nil, 0
	}
	contact := make(map[raft.ServerID]raftnet.Contact)
	for _, s := range future.Configuration().Servers {
		if s.Suffrage != raft.Voter || string(s.ID) == l.NodeID() {
			continue
		}
		voters++
		c, ok := l.trans.Contact(s.ID)
		if state := l.gossip.State(string(s.ID)); ok && (state == gossip.Alive || state == gossip.Unknown) {
			contact[s.ID] = c
			out = append(out, s.ID)
		}
	}
	slices.SortFunc(out, func(a, b raft.ServerID) int {
		return cmp.Or(cmp.Compare(contact[b].LastLog, contact[a].LastLog), contact[b].At.Compare(contact[a].At), cmp.Compare(a, b))
	})
	return out, voters
}
