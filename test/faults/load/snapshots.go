package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"waypoint/api/configpb"
	"waypoint/client"
	"waypoint/test/faults/check"
	"waypoint/test/harness"
)

const (
	pairProject = "pairs"
	pairs       = 5
)

// Snapshots changes pairs of variables, both in one call, and reads all of them
// in one call, now and then from what a node happens to know.
type Snapshots struct {
	Clients int     // each begins with another node
	Rate    float64 // operations of each client in a second, at most
	Seed    uint64

	cluster *harness.Cluster
	history *recorder[check.Snapshot]
}

var _ Workload = (*Snapshots)(nil)

// NewSnapshots returns the workload.
func NewSnapshots(c *harness.Cluster) *Snapshots {
	return &Snapshots{Clients: 5, Rate: 10, Seed: 1, cluster: c, history: newRecorder[check.Snapshot]()}
}

// Name is "snapshots".
func (s *Snapshots) Name() string { return "snapshots" }

// Prepare makes the project of the pairs.
func (s *Snapshots) Prepare(ctx context.Context) error {
	return makeProject(ctx, s.cluster, pairProject)
}

// Run lets all clients work until ctx ends.
func (s *Snapshots) Run(ctx context.Context) error {
	var clients sync.WaitGroup
	var errs []error
	for n := range s.Clients {
		conn, err := s.cluster.Dial(n)
		if err != nil {
			errs = append(errs, err)
			break
		}
		random := rand.New(rand.NewPCG(s.Seed, uint64(n)))
		clients.Go(func() {
			defer conn.Close()
			count := 0
			each(ctx, s.Rate, func(ctx context.Context) {
				count++
				switch kind := random.IntN(10); {
				case kind < 4:
					s.change(ctx, conn, random, fmt.Sprintf("c%d-%d", n, count))
				default:
					s.read(ctx, conn, n, kind < 6)
				}
			})
		})
	}
	clients.Wait()
	return errors.Join(errs...)
}

// change changes a pair. Half of the time the second half has a condition, which
// mostly does not hold: then the first one must stay as it is too. Nobody needs to
// know how a change ended.
func (s *Snapshots) change(ctx context.Context, conn *client.Client, random *rand.Rand, value string) {
	name := fmt.Sprintf("P%d", random.IntN(pairs))
	first := &configpb.Change{Scope: &configpb.Scope{Project: pairProject}, Name: name + "_A", Value: value}
	second := &configpb.Change{Scope: &configpb.Scope{Project: pairProject}, Name: name + "_B", Value: value}
	if random.IntN(2) == 0 {
		condition := uint64(random.IntN(20))
		second.IfVersion = &condition
	}
	_, _ = configpb.NewConfigClient(conn.Conn()).Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{first, second}})
}

func (s *Snapshots) read(ctx context.Context, conn *client.Client, n int, stale bool) {
	if stale {
		ctx = client.WithStale(ctx)
	}
	one := check.Snapshot{Client: n, Stale: stale, Call: s.history.now(), Pairs: map[string][2]check.Half{}}
	reply, err := configpb.NewConfigClient(conn.Conn()).Get(ctx, &configpb.GetRequest{Scope: &configpb.Scope{Project: pairProject}, Exact: true})
	if err != nil {
		return
	}
	one.Return = s.history.now()
	for _, v := range reply.GetVariables() {
		name, second := strings.CutSuffix(v.GetName(), "_B")
		place := 1
		if !second {
			name, place = strings.TrimSuffix(name, "_A"), 0
		}
		pair := one.Pairs[name]
		pair[place] = check.Half{Value: v.GetValue(), Version: v.GetVersion()}
		one.Pairs[name] = pair
	}
	s.history.add(one)
}

// Check judges the readings.
func (s *Snapshots) Check(context.Context) *check.Verdict { return check.Snapshots(s.history.all()) }
