package cluster

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	"waypoint/api/commandpb"
	"waypoint/api/nodepb"
	"waypoint/errs"
)

const (
	// messageBytes and messageCommands bound a message to the leader.
	messageBytes    = 2 << 20
	messageCommands = 128
	// messagesInFlight bounds those that have not been answered.
	messagesInFlight = 2
	// messageLimit bounds the wait for a leader that still leads but says nothing.
	messageLimit = 10 * time.Second
)

// forwarder is a follower's way to the leader: commands that wait at the same
// time go as one message.
type forwarder struct {
	*queue
	following *following
	peers     *peers
}

func newForwarder(f *following, p *peers) *forwarder {
	return &forwarder{queue: newQueue(), following: f, peers: p}
}

// run sends messages until ctx ends.
func (f *forwarder) run(ctx context.Context) error {
	defer close(f.closed)
	var sending sync.WaitGroup
	defer sending.Wait()
	slots := make(chan struct{}, messagesInFlight)
	for {
		// First the slot: while all are taken, commands gather.
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		batch := f.gather(ctx, messageCommands, messageBytes)
		if batch == nil {
			return nil
		}
		sending.Go(func() {
			f.send(batch)
			<-slots
		})
	}
}

// send takes one batch to the leader, as long as that leads.
func (f *forwarder) send(batch []*proposal) {
	results, err := f.call(batch)
	if err == nil && len(results) != len(batch) {
		err = errs.New(errs.OutcomeUnknown, "the leader gave %d results for %d commands", len(results), len(batch))
	}
	for i, prop := range batch {
		if err != nil {
			prop.fail(err)
			continue
		}
		prop.done <- results[i]
	}
}

func (f *forwarder) call(batch []*proposal) ([]*commandpb.Result, error) {
	leader, ctx, _ := f.following.current()
	if leader == "" || leader == f.peers.NodeID() {
		return nil, errs.New(errs.Unavailable, "no leader is known")
	}
	conn, err := f.peers.conn(leader)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, messageLimit)
	defer cancel()
	req := &nodepb.ApplyRequest{}
	for _, prop := range batch {
		req.Commands = append(req.Commands, prop.cmd)
	}
	resp, err := nodepb.NewNodeServiceClient(conn).Apply(ctx, req)
	if err != nil {
		return nil, forwardError(err)
	}
	return resp.GetResults(), nil
}

// forwardError says what a failed message means for its commands. Only what
// the leader itself has said tells that they were not carried out; a connection
// that broke tells nothing.
func forwardError(err error) error {
	said := len(status.Convert(err).Details()) > 0
	switch known := errs.FromStatus(err); errs.KindOf(known) {
	case errs.Unavailable:
		if said {
			return known
		}
	case errs.Unauthenticated, errs.PermissionDenied:
		// This means the node, which may have been removed and not know it yet,
		// and not who called it: why a command is refused is in its result.
		return errs.New(errs.Unavailable, "the leader takes nothing from this node, use another one: %w", known)
	case errs.Protocol, errs.Exhausted, errs.Invalid, errs.Unimplemented:
		return known
	}
	return errs.New(errs.OutcomeUnknown, "the leader did not answer: %w", errs.FromStatus(err))
}
