package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"waypoint/api/nodepb"
	"waypoint/errs"
	"waypoint/internal/backoff"
)

// freshLimit bounds Fresh: less than a client waits for one answer, so that the
// client hears why, and more than an election takes.
const freshLimit = 3 * time.Second

// errBehind is of a node that has not applied what the leader has committed.
var errBehind = errors.New("this node lags behind")

// reads makes sure that what is read here is current.
type reads struct {
	*node
	following *following
	leading   func() *tenure
	taking    func(context.Context) *tenure
	peers     *peers
	noLeader  func() error

	poll   *poll
	own    *rounds // this node confirms that it leads
	remote *rounds // this node asks the leader
}

func newReads(n *node, f *following, p *peers, l *leadership, noLeader func() error) *reads {
	r := &reads{node: n, following: f, peers: p, leading: l.leading, taking: l.taking, noLeader: noLeader}
	r.poll = newPoll(r.termOf)
	r.own, r.remote = newRounds(r.confirm), newRounds(r.askLeader)
	return r
}

// Fresh returns when this node's state holds everything that was done before
// the call, on whatever node. It takes at most 3 s; without a leader the error
// is Unavailable.
func (r *reads) Fresh(ctx context.Context) error {
	if !confirmsReads {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, freshLimit)
	defer cancel()
	pause := backoff.New(retryMin, retryMax)
	for {
		_, _, changed := r.following.current()
		err := r.fresh(limited)
		if err == nil {
			return nil
		}
		if errors.Is(err, errShutdown) || !errs.Is(err, errs.Unavailable) && limited.Err() == nil {
			return err
		}
		if rest(limited, pause, changed) != nil {
			if ctx.Err() != nil {
				return errs.New(errs.KindOf(ctx.Err()), "%w: %w", ctx.Err(), err)
			}
			if errors.Is(err, errBehind) {
				return err
			}
			return r.noLeader()
		}
	}
}

func (r *reads) fresh(ctx context.Context) error {
	way := r.remote
	if r.taking(ctx) != nil {
		way = r.own
	}
	m, err := way.do(ctx)
	if err != nil {
		return err
	}
	if err := r.store.WaitIndex(ctx, m.epoch, m.index); err != nil {
		_, here := r.store.Index()
		return errs.New(errs.Unavailable, "%w: it has applied %d of %d entries; try again or use another node", errBehind, here, m.index)
	}
	// Indexes of different epochs do not compare: a restore is on its way.
	if epoch, _ := r.store.Index(); epoch != m.epoch {
		return errs.New(errs.Unavailable, "this node has not taken over the restored state yet")
	}
	return nil
}

// WaitIndex returns when this node's state has reached the index of that epoch.
// An index of another epoch is not waited for.
func (r *reads) WaitIndex(ctx context.Context, epoch string, index uint64) error {
	return r.store.WaitIndex(ctx, epoch, index)
}

// ReadIndex returns what a node must have applied for its reads to be current
// now. Only the leader can tell; the others are Unavailable.
func (r *reads) ReadIndex(ctx context.Context) (epoch string, index uint64, err error) {
	if r.taking(ctx) == nil {
		return "", 0, errs.New(errs.Unavailable, "this node does not lead")
	}
	m, err := r.own.do(ctx)
	return m.epoch, m.index, err
}

// ConfirmTerm returns the newest term that this node knows of.
func (r *reads) ConfirmTerm() uint64 { return r.raft.CurrentTerm() }

// askLeader gets the read index from the leader.
func (r *reads) askLeader(ctx context.Context) (mark, error) {
	leader, leads, _ := r.following.current()
	if leader == "" || leader == r.NodeID() {
		return mark{}, errs.New(errs.Unavailable, "no leader is known")
	}
	conn, err := r.peers.conn(leader)
	if err != nil {
		return mark{}, errs.New(errs.Unavailable, "%w", err)
	}
	asking, cancel := context.WithTimeout(leads, 2*r.tune.Confirm)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	resp, err := nodepb.NewNodeServiceClient(conn).ReadIndex(asking, &nodepb.ReadIndexRequest{})
	if err != nil {
		// Asking again does no harm, so the reason does not matter.
		return mark{}, errs.New(errs.Unavailable, "ask the leader for a read index: %w", errs.FromStatus(err))
	}
	return mark{resp.GetEpoch(), resp.GetIndex()}, nil
}

// confirm makes sure that this node leads now, and returns the index of the
// newest command that it knew to be committed when the round began. The index is
// taken first: whoever was elected since then must have been elected by voters
// that know of the newer term, and one of those would be among the answers.
func (r *reads) confirm(ctx context.Context) (mark, error) {
	t := r.leading()
	if t == nil {
		return mark{}, errs.New(errs.Unavailable, "this node does not lead")
	}
	m, err := r.committed()
	if err != nil {
		return mark{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.tune.Confirm)
	defer cancel()
	if err := r.quorum(ctx, t.term); err != nil {
		return mark{}, err
	}
	if r.leading() != t {
		return mark{}, errs.New(errs.Unavailable, "this node does not lead any more")
	}
	return m, nil
}

// committed returns the index of the newest committed command.
func (r *reads) committed() (mark, error) {
	index, err := r.stores.Commands.Newest(r.raft.CommitIndex())
	if err != nil {
		return mark{}, errs.New(errs.Internal, "find the newest command: %w", err)
	}
	// If the log holds no command any more, the state is that of the snapshot.
	// What is applied is a command too, and committed.
	epoch, applied := r.store.Index()
	return mark{epoch, max(index, applied)}, nil
}

// quorum asks the voters for their term, and returns nil when more than half,
// this node included, are in the given one.
func (r *reads) quorum(ctx context.Context, term uint64) error {
	future := r.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return errs.New(errs.Unavailable, "read Raft's configuration: %w", err)
	}
	var others []string
	voters, agree := 0, 0
	for _, s := range future.Configuration().Servers {
		switch {
		case s.Suffrage != raft.Voter:
		case string(s.ID) == r.NodeID():
			voters, agree = voters+1, agree+1
		default:
			voters++
			others = append(others, string(s.ID))
		}
	}
	if need := voters/2 + 1 - agree; need > 0 && !r.poll.agree(ctx, others, need, term) {
		return errs.New(errs.Unavailable, "not enough voters confirm that this node leads")
	}
	return nil
}

// termOf returns the newest term that a node knows of; 0 if it does not tell.
func (r *reads) termOf(ctx context.Context, nodeID string, term uint64) uint64 {
	conn, err := r.peers.conn(nodeID)
	if err != nil {
		return 0
	}
	resp, err := nodepb.NewNodeServiceClient(conn).Confirm(ctx, &nodepb.ConfirmRequest{Term: term})
	if err != nil {
		return 0
	}
	return resp.GetTerm()
}
