package cluster

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/api/nodepb"
	"waypoint/cluster/pki"
	"waypoint/errs"
	"waypoint/fsm"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/state"
	"waypoint/version"
)

// patience bounds what a test waits for; only a failing test takes that long.
const patience = 30 * time.Second

// TestMain lets more tests run side by side than there are cores: they mostly
// wait for elections.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// calm are timers for two busy cores under the race detector.
func calm() *Tuning {
	t := WAN()
	t.Tick, t.Promote, t.LostGrace = 50*time.Millisecond, 100*time.Millisecond, 200*time.Millisecond
	t.Commit, t.Gossip = 10*time.Millisecond, "local"
	return &t
}

// member is a running node with the services that package rpc would give it.
type member struct {
	*Cluster
	t      *testing.T
	cfg    Config
	server *grpc.Server
	lose   *atomic.Bool // answers to joins are lost
	cancel context.CancelFunc
	ended  chan error
	once   sync.Once
	err    error
}

func config(t *testing.T, name string) Config {
	logger := hclog.NewNullLogger()
	if testing.Verbose() {
		logger = hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Debug})
	}
	return Config{
		DataDir: filepath.Join(t.TempDir(), name), Name: name,
		ListenAddr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0",
		Build: version.Build(), Logger: logger, Tuning: calm(),
	}
}

// run starts the node of an initialized data directory.
func run(t *testing.T, cfg Config, before ...func(*Cluster)) *member {
	t.Helper()
	cfg.Store = state.New()
	cfg.FSM = fsm.New(cfg.Store, cfg.Logger)
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, fn := range before {
		fn(c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{Cluster: c, t: t, cfg: cfg, lose: new(atomic.Bool), cancel: cancel, ended: make(chan error, 1)}
	m.server = grpc.NewServer(grpc.Creds(c.GRPCCredentials()))
	nodepb.RegisterNodeServiceServer(m.server, nodeService{c: c})
	clusterpb.RegisterClusterServer(m.server, clusterService{c: c, lose: m.lose})
	go m.server.Serve(c.GRPCListener())
	go func() { m.ended <- c.Run(ctx) }()
	t.Cleanup(func() { m.stop() })
	return m
}

// stop leaves in order.
func (m *member) stop() error {
	m.once.Do(func() {
		m.cancel()
		m.err = <-m.ended
		m.server.Stop()
	})
	return m.err
}

// crash ends the node as a kill would, as far as the others can tell: nothing is
// handed over and nobody is told.
func (m *member) crash() {
	m.once.Do(func() {
		m.server.Stop()
		m.dead.pass(fmt.Errorf("crash"))
		m.err = <-m.ended
		m.cancel()
	})
}

func (m *member) ready() *member {
	m.t.Helper()
	select {
	case <-m.Ready():
	case err := <-m.ended:
		m.t.Fatalf("%s ended: %v", m.cfg.Name, err)
	case <-time.After(patience):
		m.t.Fatalf("%s is not ready", m.cfg.Name)
	}
	return m
}

// again runs a stopped or crashed node again, given nothing but its directory.
// Its ports are others than before, since it was told to take any.
func (m *member) again() *member { return m.at("", "") }

// atHome runs it at its old addresses.
func (m *member) atHome() *member { return m.at(m.Addr(), m.gossip.Addr()) }

func (m *member) at(addr, gossipAddr string) *member {
	m.t.Helper()
	cfg := Config{
		DataDir: m.cfg.DataDir, Build: m.cfg.Build, Logger: m.cfg.Logger, Tuning: m.cfg.Tuning,
		ListenAddr: addr, GossipAddr: gossipAddr,
	}
	back := run(m.t, cfg)
	back.cfg.Name = m.cfg.Name
	return back
}

// first bootstraps and runs a cluster's first node.
func first(t *testing.T, name string) *member {
	t.Helper()
	cfg := config(t, name)
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return run(t, cfg).ready()
}

func (m *member) joinToken(lifetime time.Duration) string {
	m.t.Helper()
	resp, err := m.CreateJoinToken(m.t.Context(), ids.New(), m.userToken(), lifetime)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp.GetText()
}

// userToken is the id of the token that bootstrapping made.
func (m *member) userToken() string { return m.store.Read().Tokens()[0].GetId() }

// join adds a node to the cluster.
func (m *member) join(name string) *member {
	m.t.Helper()
	cfg := config(m.t, name)
	if err := Join(m.t.Context(), cfg, m.joinToken(0)); err != nil {
		m.t.Fatal(err)
	}
	return run(m.t, cfg).ready()
}

// three returns a cluster of three voters.
func three(t *testing.T) []*member {
	t.Helper()
	return threeWith(t, func(*Config) {})
}

// threeWith returns one whose nodes are configured by set as well.
func threeWith(t *testing.T, set func(*Config)) []*member {
	t.Helper()
	var all []*member
	for _, name := range []string{"a", "b", "c"} {
		cfg := config(t, name)
		set(&cfg)
		var err error
		if len(all) == 0 {
			_, err = Bootstrap(t.Context(), cfg)
		} else {
			err = Join(t.Context(), cfg, all[0].joinToken(0))
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, run(t, cfg).ready())
	}
	voters(t, all, 3)
	return all
}

func voters(t *testing.T, all []*member, want int) {
	t.Helper()
	for _, m := range all {
		wait.For(t, patience, fmt.Sprintf("%s to see %d voters", m.cfg.Name, want), func() bool {
			n := 0
			for _, p := range m.Members() {
				if p.GetSuffrage() == "voter" {
					n++
				}
			}
			return n == want && m.LeaderID() != ""
		})
	}
}

// leader returns the node that leads, and the others.
func leader(t *testing.T, all []*member) (*member, []*member) {
	t.Helper()
	var lead *member
	wait.For(t, patience, "a leader", func() bool {
		for _, m := range all {
			if m.leadership.leading() != nil {
				lead = m
				return true
			}
		}
		return false
	})
	var others []*member
	for _, m := range all {
		if m != lead {
			others = append(others, m)
		}
	}
	return lead, others
}

// project is a command that can be made in any number.
func (m *member) project(name string) *commandpb.Command {
	return &commandpb.Command{
		RequestId: ids.New(), TokenId: nodeToken(m.NodeID()),
		Kind: &commandpb.Command_ProjectApply{ProjectApply: &commandpb.ProjectApply{Name: name, Apps: []string{"app"}}},
	}
}

func (m *member) apply(name string) *commandpb.Result {
	m.t.Helper()
	res, err := m.Apply(m.t.Context(), m.project(name))
	if err != nil {
		m.t.Fatalf("apply on %s: %v", m.cfg.Name, err)
	}
	return res
}

func (m *member) sees(name string) bool { return m.store.Read().Project(name) != nil }

// nodeService and clusterService stand for rpc/node and rpc/cluster.
type nodeService struct {
	nodepb.UnimplementedNodeServiceServer
	c *Cluster
}

func (s nodeService) Apply(ctx context.Context, req *nodepb.ApplyRequest) (*nodepb.ApplyResponse, error) {
	results, err := s.c.ApplyBatch(ctx, req.GetCommands())
	return &nodepb.ApplyResponse{Results: results}, errs.ToStatus(err)
}

func (s nodeService) ReadIndex(ctx context.Context, _ *nodepb.ReadIndexRequest) (*nodepb.ReadIndexResponse, error) {
	epoch, index, err := s.c.ReadIndex(ctx)
	return &nodepb.ReadIndexResponse{Epoch: epoch, Index: index}, errs.ToStatus(err)
}

// Confirm refuses strangers, as package serve does for every method.
func (s nodeService) Confirm(ctx context.Context, _ *nodepb.ConfirmRequest) (*nodepb.ConfirmResponse, error) {
	from, _ := peer.FromContext(ctx)
	if _, ok := s.c.PeerIdentity(from.AuthInfo.(pki.AuthInfo).State); !ok {
		if err := s.c.Fresh(ctx); err != nil {
			return nil, errs.ToStatus(err)
		}
		if _, ok := s.c.PeerIdentity(from.AuthInfo.(pki.AuthInfo).State); !ok {
			return nil, errs.ToStatus(errs.New(errs.Unauthenticated, "not a member"))
		}
	}
	return &nodepb.ConfirmResponse{Term: s.c.ConfirmTerm(), Time: s.c.Clock().UnixNano()}, nil
}

func (s nodeService) RemoveNode(ctx context.Context, req *nodepb.RemoveNodeRequest) (*nodepb.RemoveNodeResponse, error) {
	index, err := s.c.RemoveAsLeader(ctx, req)
	return &nodepb.RemoveNodeResponse{Index: index}, errs.ToStatus(err)
}

type clusterService struct {
	clusterpb.UnimplementedClusterServer
	c    *Cluster
	lose *atomic.Bool
}

func (s clusterService) Join(ctx context.Context, req *clusterpb.JoinRequest) (*clusterpb.JoinResponse, error) {
	resp, err := s.c.AcceptJoin(ctx, req)
	if s.lose.Load() {
		return nil, errs.ToStatus(errs.New(errs.Unavailable, "the answer is lost"))
	}
	return resp, errs.ToStatus(err)
}
