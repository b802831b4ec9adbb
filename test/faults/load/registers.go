package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"waypoint/api/configpb"
	"waypoint/api/projectpb"
	"waypoint/client"
	"waypoint/protocol"
	"waypoint/test/faults/check"
	"waypoint/test/harness"
)

const (
	registerProject = "registers"
	// keyOps is how many operations a register gets before another one takes
	// its place: the time to check a history grows faster than its length.
	keyOps = 250
	// checkLimit bounds the check of all registers.
	checkLimit = 2 * time.Minute
	// readLimit bounds a reading of everything in the end.
	readLimit = time.Minute
)

// Registers reads and writes configuration variables through all nodes, with
// and without a condition on their version, and now and then reads what a node
// happens to know.
type Registers struct {
	Clients int     // each begins with another node
	Keys    int     // in use at a time
	Rate    float64 // operations of each client in a second, at most
	Seed    uint64  // of what is drawn

	cluster *harness.Cluster
	history *recorder[check.Op]
	slots   []*slot
}

var _ Workload = (*Registers)(nil)

// NewRegisters returns the workload with a load that can be checked after some
// minutes.
func NewRegisters(c *harness.Cluster) *Registers {
	return &Registers{Clients: 10, Keys: 10, Rate: 30, Seed: 1, cluster: c, history: newRecorder[check.Op]()}
}

// Name is "registers".
func (r *Registers) Name() string { return "registers" }

// slot is the place of one register in use.
type slot struct {
	number int

	mu         sync.Mutex
	generation int
	ops        int
	version    uint64 // the newest that anybody saw
}

// take returns the register to use and the newest version that is known of it.
func (s *slot) take() (key string, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ops++; s.ops > keyOps {
		s.renew()
	}
	return fmt.Sprintf("R%d_%d", s.number, s.generation), s.version
}

// note remembers how far a register has come. One with an operation that
// may happen at any time is not used any longer: each such operation doubles
// what there is to check.
func (s *slot) note(key string, o *check.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case key != fmt.Sprintf("R%d_%d", s.number, s.generation):
	case o.Outcome == check.Unknown:
		s.renew()
	default:
		s.version = max(s.version, o.Version)
	}
}

func (s *slot) renew() { s.generation, s.ops, s.version = s.generation+1, 0, 0 }

// Prepare makes the project of the variables.
func (r *Registers) Prepare(ctx context.Context) error {
	for n := range r.Keys {
		r.slots = append(r.slots, &slot{number: n})
	}
	return makeProject(ctx, r.cluster, registerProject)
}

func makeProject(ctx context.Context, c *harness.Cluster, name string, apps ...string) error {
	conn, err := c.Dial(0)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = projectpb.NewProjectServiceClient(conn.Conn()).ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: name, Apps: apps})
	return err
}

// Run lets all clients work until ctx ends.
func (r *Registers) Run(ctx context.Context) error {
	var clients sync.WaitGroup
	var errs []error
	for n := range r.Clients {
		conn, err := r.cluster.Dial(n)
		if err != nil {
			errs = append(errs, err)
			break
		}
		w := &registerClient{r: r, number: n, conn: conn, random: rand.New(rand.NewPCG(r.Seed, uint64(n)))}
		clients.Go(func() {
			defer conn.Close()
			each(ctx, r.Rate, w.operate)
		})
	}
	clients.Wait()
	return errors.Join(errs...)
}

// Check reads every register once more, also those that were given up in the
// middle, and judges the history.
func (r *Registers) Check(ctx context.Context) *check.Verdict {
	history := r.history.all()
	call := r.history.now()
	variables, err := readAll(ctx, r.cluster, 0, registerProject)
	last := map[string]check.Op{} // what is not there is read too
	for _, o := range history {
		last[o.Key] = check.Op{Key: o.Key}
	}
	for _, v := range variables {
		last[v.GetName()] = check.Op{Key: v.GetName(), Value: v.GetValue(), Version: v.GetVersion()}
	}
	for _, o := range last {
		o.Client, o.Kind, o.Call, o.Return, o.Outcome = r.Clients, check.Read, call, r.history.now(), outcome(err)
		history = append(history, o)
	}
	v := check.Registers(history, checkLimit)
	if err != nil {
		v.Violated("the registers cannot be read in the end: %v", err)
	}
	return v
}

// readAll reads all variables of a project through a node.
func readAll(ctx context.Context, c *harness.Cluster, node int, project string) ([]*configpb.Variable, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	conn, err := c.Dial(node)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	reply, err := configpb.NewConfigClient(conn.Conn()).Get(ctx, &configpb.GetRequest{Scope: &configpb.Scope{Project: project}, Exact: true})
	return reply.GetVariables(), err
}

// registerClient is one client, which does one operation at a time.
type registerClient struct {
	r      *Registers
	number int
	conn   *client.Client
	random *rand.Rand
	writes int
}

func (w *registerClient) operate(ctx context.Context) {
	s := w.r.slots[w.random.IntN(len(w.r.slots))]
	key, version := s.take()
	o := check.Op{Client: w.number, Node: w.conn.Current(), Key: key}
	switch kind := w.random.IntN(100); {
	case kind < 40:
		o.Kind = check.Read
	case kind < 50:
		o.Kind = check.StaleRead
	case kind < 75:
		o.Kind = check.Write
	default:
		o.Kind, o.Expect = check.CAS, version
	}
	o.Call = w.r.history.now()
	if o.Kind == check.Read || o.Kind == check.StaleRead {
		w.read(ctx, &o)
	} else {
		w.write(ctx, &o)
	}
	s.note(key, &o)
	w.r.history.add(o)
}

func (w *registerClient) read(ctx context.Context, o *check.Op) {
	if o.Kind == check.StaleRead {
		ctx = client.WithStale(ctx)
	}
	var trailer metadata.MD
	reply, err := configpb.NewConfigClient(w.conn.Conn()).Get(ctx, &configpb.GetRequest{
		Scope: &configpb.Scope{Project: registerProject}, Name: o.Key, Exact: true,
	}, grpc.Trailer(&trailer))
	w.end(o, err, trailer)
	if v := reply.GetVariables(); len(v) > 0 {
		o.Value, o.Version = v[0].GetValue(), v[0].GetVersion()
	}
	if err != nil {
		o.Outcome = check.NotDone // a read has no effect
	}
}

func (w *registerClient) write(ctx context.Context, o *check.Op) {
	w.writes++
	o.Value = fmt.Sprintf("c%d-%d", w.number, w.writes)
	change := &configpb.Change{Scope: &configpb.Scope{Project: registerProject}, Name: o.Key, Value: o.Value}
	if o.Kind == check.CAS {
		change.IfVersion = &o.Expect
	}
	var trailer metadata.MD
	reply, err := configpb.NewConfigClient(w.conn.Conn()).Set(ctx, &configpb.SetRequest{
		Changes: []*configpb.Change{change},
	}, grpc.Trailer(&trailer))
	w.end(o, err, trailer)
	if v := reply.GetVariables(); len(v) > 0 {
		o.Version = v[0].GetVersion()
	}
}

func (w *registerClient) end(o *check.Op, err error, trailer metadata.MD) {
	o.Return = w.r.history.now()
	o.Outcome, o.Error = outcome(err), text(err)
	if v := trailer.Get(protocol.HeaderIndex); err == nil && len(v) > 0 {
		if epoch, index, err := protocol.DecodeIndex(v[0]); err == nil {
			o.Epoch, o.Index = epoch, index
		}
	}
}
