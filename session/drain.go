package session

import (
	"context"

	"waypoint/api/entrypointpb"
)

// Drain refuses new instances, asks those that are attached to move to the other
// servers, spread over them, and waits until they have gone or ctx ends. The
// resumable exec sessions of those that have gone are let go of. It returns how
// many instances are left.
func (in *Instances) Drain(ctx context.Context) int {
	in.mu.Lock()
	in.draining = true
	in.mu.Unlock()
	moves := moveMessages(in.cfg.OtherServers())
	for i, a := range in.attached() {
		a.out.order(moves[i%len(moves)])
	}
	in.mu.Lock()
	empty := in.empty
	if empty == nil {
		empty = make(chan struct{})
		in.empty = empty
	}
	if in.live == 0 {
		in.mu.Unlock()
		return 0
	}
	in.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
	return in.Attached()
}

// moveMessages returns one message per server, each of which begins with another
// one.
func moveMessages(servers []string) []*entrypointpb.Down {
	var moves []*entrypointpb.Down
	for i := range max(1, len(servers)) {
		order := append(append([]string{}, servers[min(i, len(servers)):]...), servers[:min(i, len(servers))]...)
		moves = append(moves, &entrypointpb.Down{Kind: &entrypointpb.Down_Move{Move: &entrypointpb.Move{
			Reason: "node is leaving", ServerAddrs: order,
		}}})
	}
	return moves
}
