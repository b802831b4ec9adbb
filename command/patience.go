package command

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"waypoint/api/clusterpb"
	"waypoint/client"
)

const (
	patience     = 2 * time.Second // with a call before a word is said
	inquiryLimit = time.Second
)

// connect dials, and makes calls that take long say so on a terminal.
func (e *Env) connect(t Target) (Conn, error) {
	cc, err := e.Dial(t)
	if err != nil || e.Patience == 0 || !e.Terminal.Is(e.Stderr) {
		return cc, err
	}
	return &patientConn{Conn: cc, env: e}, nil
}

// patientConn tells the user what a call waits for.
type patientConn struct {
	Conn
	env *Env
}

func (p *patientConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	waiting, answered := context.WithCancel(ctx)
	explained := make(chan struct{})
	go func() {
		defer close(explained)
		p.explain(waiting)
	}()
	err := p.Conn.Invoke(ctx, method, args, reply, opts...)
	answered()
	<-explained
	return err
}

func (p *patientConn) explain(ctx context.Context) {
	timer := time.NewTimer(p.env.Patience)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	if text := p.reason(ctx); ctx.Err() == nil {
		fmt.Fprintln(p.env.Stderr, p.env.style(p.env.Stderr).Dim(text))
	}
}

// reason asks any node what it knows of a leader.
func (p *patientConn) reason(ctx context.Context) string {
	asking, cancel := context.WithTimeout(client.WithStale(ctx), inquiryLimit)
	defer cancel()
	reply, err := clusterpb.NewClusterClient(p.Conn).Members(asking, &clusterpb.MembersRequest{})
	if err != nil {
		return "no server answers; trying again ..."
	}
	alive := 0
	for _, m := range reply.GetMembers() {
		if m.GetLeader() {
			return "waiting for an answer ..."
		}
		if m.GetGossip() == "alive" {
			alive++
		}
	}
	return fmt.Sprintf("waiting for a leader (%d of %d servers are alive) ...", alive, len(reply.GetMembers()))
}
