package cluster

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/agent"
	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/client"
	"waypoint/internal/wait"
	"waypoint/protocol"
)

// member is one running agent.
type member struct {
	*agent.Agent
	cfg    agent.Config
	cancel context.CancelFunc
	done   chan error
}

// group is a cluster of agents in this process.
type group struct {
	t       *testing.T
	members []*member
	ca      string
	token   string
}

// startGroup runs n agents until the test ends and waits until all vote.
func startGroup(t *testing.T, n int) *group {
	t.Helper()
	g := &group{t: t}
	first := g.start(agent.Config{Bootstrap: true})
	g.ca, g.token = first.Info().CAFingerprint, first.Info().UserToken
	for range n - 1 {
		g.start(agent.Config{JoinToken: g.joinToken()})
	}
	g.waitVoters(n)
	return g
}

// start runs one more agent and returns when it is ready.
func (g *group) start(cfg agent.Config) *member {
	g.t.Helper()
	name := fmt.Sprintf("n%d", len(g.members)+1)
	if cfg.DataDir == "" {
		cfg.DataDir = filepath.Join(g.t.TempDir(), name)
	}
	if cfg.Name == "" {
		cfg.Name = name
	}
	m := g.launch(cfg)
	g.members = append(g.members, m)
	g.awaitReady(m)
	return m
}

// launch runs an agent. It listens on any port if cfg names none.
func (g *group) launch(cfg agent.Config) *member {
	g.t.Helper()
	cfg.Profile = "wan"
	cfg.Addr, cfg.GossipAddr = cmp.Or(cfg.Addr, "127.0.0.1:0"), cmp.Or(cfg.GossipAddr, "127.0.0.1:0")
	logger := hclog.New(&hclog.LoggerOptions{Name: cfg.Name, Level: hclog.Warn, Output: newTestWriter(g.t)})
	a, err := agent.New(g.context(time.Minute), cfg, logger)
	if err != nil {
		g.t.Fatalf("%s: %v", cfg.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{Agent: a, cfg: cfg, cancel: cancel, done: make(chan error, 1)}
	go func() { m.done <- a.Run(ctx) }()
	g.t.Cleanup(m.stop)
	return m
}

func (g *group) awaitReady(m *member) {
	g.t.Helper()
	select {
	case <-m.Ready():
	case err := <-m.done:
		m.done <- err
		g.t.Fatalf("%s ended before it was ready: %v", m.cfg.Name, err)
	case <-time.After(time.Minute):
		g.t.Fatalf("%s is not ready after a minute", m.cfg.Name)
	}
}

// stop ends the agent gracefully and waits for it. It may be called twice.
func (m *member) stop() {
	m.cancel()
	m.done <- <-m.done
}

// testWriter hands log lines to the test, and drops those of library goroutines
// that outlive it.
type testWriter struct {
	mu sync.Mutex
	t  *testing.T // nil once the test is over
}

func newTestWriter(t *testing.T) *testWriter {
	w := &testWriter{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t = nil
	})
	return w
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Helper()
		w.t.Logf("%s", p)
	}
	return len(p), nil
}

// dial returns a client of one member only.
func (g *group) dial(i int, token string) *client.Client {
	g.t.Helper()
	return g.dialAddrs([]string{g.members[i].Info().Addr}, token)
}

func (g *group) dialAddrs(addrs []string, token string) *client.Client {
	g.t.Helper()
	c, err := client.New(client.Config{Addrs: addrs, CA: g.ca, Token: token,
		Ranges: protocol.Current(), Logger: hclog.NewNullLogger()})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (g *group) joinToken() string {
	g.t.Helper()
	c := g.dial(0, g.token)
	reply, err := clusterpb.NewClusterClient(c.Conn()).CreateJoinToken(g.context(time.Minute), &clusterpb.CreateJoinTokenRequest{})
	if err != nil {
		g.t.Fatal(err)
	}
	return reply.GetText()
}

// newToken makes a token of the kind and returns its text and id.
func (g *group) newToken(kind authpb.TokenKind) (text, id string) {
	g.t.Helper()
	c := g.dial(0, g.token)
	reply, err := authpb.NewAuthClient(c.Conn()).CreateToken(g.context(time.Minute),
		&authpb.CreateTokenRequest{Kind: kind, Subject: "test"})
	if err != nil {
		g.t.Fatal(err)
	}
	return reply.GetText(), reply.GetToken().GetId()
}

func (g *group) waitVoters(n int) {
	g.t.Helper()
	members := clusterpb.NewClusterClient(g.dial(0, g.token).Conn())
	wait.For(g.t, time.Minute, fmt.Sprintf("%d voters", n), func() bool {
		reply, err := members.Members(g.context(10*time.Second), &clusterpb.MembersRequest{})
		if err != nil {
			return false
		}
		voters := 0
		for _, m := range reply.GetMembers() {
			if m.GetSuffrage() == "voter" {
				voters++
			}
		}
		return voters == n
	})
}

// context ends after limit or with the test.
func (g *group) context(limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(g.t.Context(), limit)
	g.t.Cleanup(cancel)
	return ctx
}

// restart starts the stopped i-th member again from its data directory.
func (g *group) restart(i int) {
	g.t.Helper()
	cfg := g.members[i].cfg
	cfg.Bootstrap, cfg.JoinToken = false, ""
	others := g.members
	m := g.start(agent.Config{DataDir: cfg.DataDir, Name: cfg.Name})
	g.members = others
	g.members[i] = m
}
