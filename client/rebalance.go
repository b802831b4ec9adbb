package client

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"waypoint/api/clusterpb"
)

const serversTimeout = 5 * time.Second

// follow asks the link's node for the members from time to time, as long as the
// link is the current one; at once if the node has not told them with its first
// answer.
func (c *Client) follow(l *link) {
	ctx, cancel := context.WithCancel(c.life)
	defer cancel()
	known := l.servers
	if known == nil {
		known = c.servers(ctx, l)
	} else {
		c.book.replace(known)
	}
	left := c.lost(l)
	for {
		// Jitter between half and one and a half keeps clients apart.
		pause := time.NewTimer(c.tuning.refresh/2 + rand.N(c.tuning.refresh))
		select {
		case <-l.gone:
			pause.Stop()
			return
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		now := c.servers(ctx, l)
		if now == nil {
			continue
		}
		if to := better(known, now, l.addr, left); c.cfg.Spread && to != "" {
			c.move(l, to)
			return
		}
		known = now
	}
}

// servers asks for the members once and learns them; nil if nothing came.
func (c *Client) servers(ctx context.Context, l *link) []string {
	ctx, cancel := context.WithTimeout(ctx, serversTimeout)
	defer cancel()
	got, err := clusterpb.NewClusterClient(l.cc).Servers(c.outgoing(ctx, ""), &clusterpb.ServersRequest{})
	if err != nil || len(got.GetAddrs()) == 0 {
		return nil
	}
	c.book.replace(got.GetAddrs())
	return got.GetAddrs()
}

// lost is the node that the client was on before and that failed; it is told
// once.
func (c *Client) lost(now *link) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lost := c.failed
	c.failed = ""
	if lost == now.addr {
		return ""
	}
	return lost
}

// better decides whether to move for an even spread, and where to. Of n
// servers k are new since the last look: each client moves with probability
// k/n to one of them, which evens out the numbers exactly. A node that was
// away too shortly to be missed is in both lists: those who lost it go back.
func better(known, now []string, here, lost string) string {
	if known == nil || len(now) < 2 {
		return ""
	}
	var fresh []string
	for _, a := range now {
		if a != here && !slices.Contains(known, a) {
			fresh = append(fresh, a)
		}
	}
	if len(fresh) > 0 {
		if rand.IntN(len(now)) < len(fresh) {
			return fresh[rand.IntN(len(fresh))]
		}
		return ""
	}
	if lost != "" && slices.Contains(now, lost) && slices.Contains(known, lost) && rand.IntN(2) == 0 {
		return lost
	}
	return ""
}

// move lets new calls go to another node and says so to who holds streams.
func (c *Client) move(l *link, to string) {
	c.cfg.Logger.Debug("moving for an even spread", "from", l.addr, "to", to)
	c.book.prefer([]string{to})
	c.leave(l)
	select {
	case c.moved <- struct{}{}:
	default:
	}
}
