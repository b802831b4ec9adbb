package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"waypoint/api/nodepb"
	"waypoint/errs"
)

// astray is how many heartbeats a node hears from no leader before it asks the
// others whether it is still a member, and between two such questions.
const astray = 5

// errRemoved ends a node that is not a member any more.
var errRemoved = errors.New("this node has been removed from the cluster; to use its host again, start a node with an empty " +
	"data directory and a new join token (\"waypoint server join-token\")")

// standing finds out whether this node is still a member. The others do not
// talk to one that is not, so it has to ask.
type standing struct {
	*node
	following *following
	peers     *peers
	roster    *roster
}

// run returns errRemoved when a member says so, nil when ctx ends.
func (s *standing) run(ctx context.Context) error {
	tick := time.NewTicker(astray * s.tune.Heartbeat)
	defer tick.Stop()
	for alone := false; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if !s.lost() {
			alone = false
			continue
		}
		if alone && s.removed(ctx) {
			return errRemoved
		}
		alone = true
	}
}

// lost tells whether this node may have been removed: it knows of no leader, or
// Raft knows the others only.
func (s *standing) lost() bool {
	if s.following.LeaderID() == "" {
		return true
	}
	servers := s.roster.servers()
	for _, server := range servers {
		if string(server.ID) == s.NodeID() {
			return false
		}
	}
	return len(servers) > 0
}

// removed asks every other node at once. One that answers has made sure that
// its list of members is the newest before it calls anybody a stranger.
func (s *standing) removed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, astray*s.tune.Heartbeat)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	var said error
	for _, id := range s.others() {
		conn, err := s.peers.conn(id)
		if err != nil {
			continue
		}
		asking.Go(func() {
			_, err := nodepb.NewNodeServiceClient(conn).Confirm(ctx, &nodepb.ConfirmRequest{})
			if errs.Is(errs.FromStatus(err), errs.Unauthenticated) {
				mu.Lock()
				defer mu.Unlock()
				said = err
				cancel()
			}
		})
	}
	asking.Wait()
	if said != nil {
		s.logger.Error("the others say that this node is not a member", "answer", errs.FromStatus(said))
	}
	return said != nil
}

// others are the members that this node knows of.
func (s *standing) others() (ids []string) {
	for _, n := range s.store.Read().Nodes() {
		if n.GetId() != s.NodeID() {
			ids = append(ids, n.GetId())
		}
	}
	if len(ids) > 0 {
		return ids
	}
	for _, p := range s.peers.remembered.Peers { // the state has not come back yet
		ids = append(ids, p.ID)
	}
	return ids
}
