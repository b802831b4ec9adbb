package load

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"waypoint/api/configpb"
	"waypoint/client"
	"waypoint/test/faults/check"
	"waypoint/test/harness"
)

const setProject = "set"

// Set adds unique names through all nodes and reads them all in the end, through
// each node.
type Set struct {
	Clients int     // each begins with another node
	Rate    float64 // names of each client in a second, at most

	cluster *harness.Cluster
	history *recorder[check.Op]
}

var _ Workload = (*Set)(nil)

// NewSet returns the workload.
func NewSet(c *harness.Cluster) *Set {
	return &Set{Clients: 6, Rate: 10, cluster: c, history: newRecorder[check.Op]()}
}

// Name is "set".
func (s *Set) Name() string { return "set" }

// Prepare makes the project of the names.
func (s *Set) Prepare(ctx context.Context) error { return makeProject(ctx, s.cluster, setProject) }

// Run lets all clients work until ctx ends.
func (s *Set) Run(ctx context.Context) error {
	var clients sync.WaitGroup
	var errs []error
	for n := range s.Clients {
		conn, err := s.cluster.Dial(n)
		if err != nil {
			errs = append(errs, err)
			break
		}
		clients.Go(func() {
			defer conn.Close()
			count := 0
			each(ctx, s.Rate, func(ctx context.Context) {
				count++
				s.add(ctx, conn, n, fmt.Sprintf("S%d_%d", n, count))
			})
		})
	}
	clients.Wait()
	return errors.Join(errs...)
}

// add adds a name that must not be there: if it is, it was done twice.
func (s *Set) add(ctx context.Context, conn *client.Client, number int, name string) {
	o := check.Op{Client: number, Node: conn.Current(), Call: s.history.now(), Kind: check.Add, Key: name}
	none := uint64(0)
	_, err := configpb.NewConfigClient(conn.Conn()).Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{
		{Scope: &configpb.Scope{Project: setProject}, Name: name, Value: "1", IfVersion: &none},
	}})
	o.Return, o.Outcome, o.Error = s.history.now(), outcome(err), text(err)
	s.history.add(o)
}

// Check reads the set through each node, one after the other, and judges.
func (s *Set) Check(ctx context.Context) *check.Verdict {
	var final []check.Op
	var failed []error
	for n := range s.cluster.Nodes {
		ops, err := s.read(ctx, n)
		final = append(final, ops...)
		failed = append(failed, err)
	}
	v := check.Set(s.history.all(), final)
	if err := errors.Join(failed...); err != nil {
		v.Violated("the set cannot be read: %v", err)
	}
	return v
}

func (s *Set) read(ctx context.Context, n int) ([]check.Op, error) {
	call := s.history.now()
	variables, err := readAll(ctx, s.cluster, n, setProject)
	end := s.history.now()
	var ops []check.Op
	for _, v := range variables {
		ops = append(ops, check.Op{Client: n, Call: call, Return: end, Kind: check.Read,
			Key: v.GetName(), Version: v.GetVersion(), Outcome: check.OK})
	}
	return ops, err
}
