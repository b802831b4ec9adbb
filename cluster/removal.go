package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/status"

	"waypoint/api/commandpb"
	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/internal/backoff"
)

// removal ends memberships because somebody asks for it.
type removal struct {
	*node
	following  *following
	leadership *leadership
	peers      *peers
	roster     *roster
	writes     *writes
	asked      chan *removalAsk // to the leader's membership task
}

// removalAsk is a removal on its way to the task that changes the membership,
// and the place for what became of it.
type removalAsk struct {
	req   *nodepb.RemoveNodeRequest
	index uint64
	err   error
	done  chan struct{} // closed when index and err are set
}

// RemoveNode takes a node's vote away and ends its membership, wherever the
// leader is, and returns the index of the command. If too few of the voters that
// would be left answer, it is a Conflict unless force is set. The leader can be
// removed too: it hands over first. A removal that comes again, with the same
// request id, does no harm.
func (r *removal) RemoveNode(ctx context.Context, requestID, tokenID, nodeID string, force bool) (uint64, error) {
	limited, cancel := context.WithTimeout(ctx, applyLimit)
	defer cancel()
	req := &nodepb.RemoveNodeRequest{NodeId: nodeID, Force: force, RequestId: requestID, TokenId: tokenID}
	pause := backoff.New(retryMin, retryMax)
	var unknown error // of a try that may have been carried out
	for {
		_, _, changed := r.following.current()
		index, err := r.try(limited, req)
		switch errs.KindOf(err) {
		case 0:
			r.writes.settle(ctx, index)
			return index, nil
		case errs.OutcomeUnknown:
			unknown = err
		case errs.Unavailable, errs.StaleAttempt, errs.Canceled, errs.Deadline:
		default:
			return 0, err
		}
		if rest(limited, pause, changed) == nil {
			continue
		}
		if unknown == nil && ctx.Err() == nil && r.following.LeaderID() != "" {
			return 0, err // it knows better than that there is no leader
		}
		return 0, r.writes.giveUp(ctx, unknown)
	}
}

// try asks the leader once.
func (r *removal) try(ctx context.Context, req *nodepb.RemoveNodeRequest) (uint64, error) {
	leader, leads, _ := r.following.current()
	if leader == "" {
		return 0, errs.New(errs.Unavailable, "there is no leader")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(leads, cancel)()
	if leader == r.NodeID() {
		return r.RemoveAsLeader(ctx, req)
	}
	conn, err := r.peers.conn(leader)
	if err != nil {
		return 0, errs.New(errs.Unavailable, "%w", err)
	}
	resp, err := nodepb.NewNodeServiceClient(conn).RemoveNode(ctx, req)
	switch {
	case err == nil:
		return resp.GetIndex(), nil
	case len(status.Convert(err).Details()) > 0: // the leader's own word
		return 0, errs.FromStatus(err)
	}
	return 0, errs.New(errs.OutcomeUnknown, "the leader did not answer: %w", errs.FromStatus(err))
}

// RemoveAsLeader does what RemoveNode promises, on the leader only; others are
// Unavailable, and so is a leader that was to remove itself and has handed over.
func (r *removal) RemoveAsLeader(ctx context.Context, req *nodepb.RemoveNodeRequest) (uint64, error) {
	if r.leadership.leading() == nil {
		return 0, errs.New(errs.Unavailable, "this node does not lead")
	}
	if req.GetNodeId() == r.NodeID() {
		return 0, r.giveWay(req)
	}
	ask := &removalAsk{req: req, done: make(chan struct{})}
	select {
	case r.asked <- ask:
	case <-ctx.Done():
		return 0, errs.New(errs.Unavailable, "this node does not lead any more: %w", ctx.Err())
	}
	select {
	case <-ask.done:
		return ask.index, ask.err
	case <-ctx.Done():
		return 0, errs.New(errs.OutcomeUnknown, "remove node %s: %w", req.GetNodeId(), ctx.Err())
	}
}

// giveWay hands leadership to one who can remove this node.
func (r *removal) giveWay(req *nodepb.RemoveNodeRequest) error {
	if err := r.check(req, time.Now()); err != nil {
		return err
	}
	if err := r.leadership.transfer(); err != nil {
		return errs.New(errs.Unavailable, "this node leads and cannot hand over: %w", err)
	}
	return errs.New(errs.Unavailable, "this node led and has handed over")
}

// check refuses a removal that would leave no quorum. A leader that has just
// begun has not heard of everybody yet.
func (r *removal) check(req *nodepb.RemoveNodeRequest, now time.Time) error {
	servers := make(map[string]raft.Server)
	for _, s := range r.roster.servers() {
		servers[string(s.ID)] = s
	}
	s, configured := servers[req.GetNodeId()]
	if !configured || s.Suffrage != raft.Voter {
		return nil
	}
	voters, present := others(s, servers, func(id string) bool { return id == r.NodeID() || r.inContact(id, now) })
	t := r.leadership.leading()
	switch {
	case t == nil:
		return errs.New(errs.Unavailable, "this node does not lead any more")
	case voters == 0:
		return errs.New(errs.Conflict, "node %s is the only voter: add another node first", req.GetNodeId())
	case present >= majority(voters) || req.GetForce():
		return nil
	case now.Sub(t.since) < r.recent():
		return errs.New(errs.Unavailable, "this node has just begun to lead")
	default:
		return errs.New(errs.Conflict,
			"without node %s, %d of %d voters would answer and %d are needed: bring the others back first, or use -force, "+
				"with which the cluster may stand still until they are", req.GetNodeId(), present, voters, majority(voters))
	}
}

// discharge answers one request to remove a node.
func (w *watch) discharge(ctx context.Context, ask *removalAsk) {
	defer close(ask.done)
	ask.index, ask.err = w.release(ctx, ask.req)
}

// release removes a node first from Raft, so that nobody counts on its vote who
// does not talk to it any more, and then from the members.
func (w *watch) release(ctx context.Context, req *nodepb.RemoveNodeRequest) (uint64, error) {
	if err := w.removal.check(req, time.Now()); err != nil {
		return 0, err
	}
	id := req.GetNodeId()
	for _, s := range w.roster.servers() {
		if string(s.ID) != id {
			continue
		}
		w.logger.Info("removing a node as asked", "node", id, "by", req.GetTokenId())
		if err := change("remove server "+id, w.raft.RemoveServer(s.ID, 0, changeLimit)); err != nil {
			return 0, errs.New(errs.OutcomeUnknown, "%w", err)
		}
	}
	res, err := w.lead.Apply(ctx, &commandpb.Command{
		RequestId: req.GetRequestId(), TokenId: req.GetTokenId(),
		Kind: &commandpb.Command_NodeRemove{NodeRemove: &commandpb.NodeRemove{Id: id}},
	})
	if err != nil {
		return 0, fmt.Errorf("remove node %s: %w", id, err)
	}
	return res.GetIndex(), nil
}
