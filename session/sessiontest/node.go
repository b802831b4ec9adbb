// Package sessiontest gives tests nodes that instances can attach to, several
// over one state, and entrypoints that do as they are told. It is for tests only.
package sessiontest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/entrypoint"
	"waypoint/rpc/node"
	"waypoint/rpc/rpctest"
	"waypoint/session"
)

// Node is a node with a registry of instances and a server. Several nodes of one
// fixture share its state, as if replication took no time.
type Node struct {
	*session.Instances
	ID     string
	Server *rpctest.Server

	t      testing.TB
	f      *rpctest.Fixture
	cancel context.CancelFunc
	done   chan struct{}
}

// NewNode starts a node whose registry ends with the test. Change may be nil.
// Services are made for the node before its server starts.
func NewNode(t testing.TB, f *rpctest.Fixture, change func(*session.InstancesConfig), services ...func(*Node) rpctest.Service) *Node {
	t.Helper()
	n := &Node{ID: ids.New(), t: t, f: f, done: make(chan struct{})}
	cfg := session.InstancesConfig{
		NodeID: n.ID, BootID: ids.New(), Store: f.Store, Applier: f, Open: f.Keyring.Open,
		Servers:      func() []string { return []string{"a:9701", "b:9701", "c:9701"} },
		OtherServers: func() []string { return []string{"b:9701", "c:9701"} },
		Logger:       f.Logger,
	}
	if change != nil {
		change(&cfg)
	}
	n.Instances = session.NewInstances(cfg)
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(t.Context())
	go func() {
		defer close(n.done)
		if err := n.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run instances: %v", err)
		}
	}()
	list := []rpctest.Service{entrypoint.New(n), node.New(node.Config{Instances: n})}
	for _, service := range services {
		list = append(list, service(n))
	}
	n.Server = f.Serve(list...)
	n.Server.DialNode(n.ID) // lists it in the membership
	t.Cleanup(n.Stop)
	return n
}

// Stop ends the node: its streams break.
func (n *Node) Stop() {
	n.Server.Stop()
	n.StopInstances()
}

// StopInstances ends what is attached to the node, whose server goes on.
func (n *Node) StopInstances() {
	n.cancel()
	<-n.done
}

// Peers is a way from node to node.
type Peers struct {
	mu    sync.Mutex
	conns map[string]grpc.ClientConnInterface
}

// Connect lets nodes reach this one, as the node with id from.
func (p *Peers) Connect(n *Node, from string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		p.conns = map[string]grpc.ClientConnInterface{}
	}
	p.conns[n.ID] = n.Server.DialNode(from)
}

// Peer returns a connection to a node.
func (p *Peers) Peer(nodeID string) (grpc.ClientConnInterface, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if conn := p.conns[nodeID]; conn != nil {
		return conn, nil
	}
	return nil, errs.New(errs.Unavailable, "node %s cannot be reached", nodeID)
}

// Ref is the app that deployments of tests belong to.
func Ref() *deploymentpb.AppRef {
	return &deploymentpb.AppRef{Project: "shop", App: "web", Workspace: "default"}
}

// Deploy makes a deployment of Ref with entrypoints and returns its id and the
// text of a token for it.
func Deploy(f *rpctest.Fixture) (id, token string) {
	if f.Store.Read().Project("shop") == nil {
		f.Do(&commandpb.Command_ProjectApply{ProjectApply: &commandpb.ProjectApply{Name: "shop", Apps: []string{"web"}}})
	}
	id = ids.New()
	f.Do(&commandpb.Command_DeploymentCreate{DeploymentCreate: &commandpb.DeploymentCreate{
		Deployment: &deploymentpb.Deployment{Id: id, App: Ref(), Plugin: "noop", Instances: 1, Entrypoint: true},
		Token:      &authpb.Token{Id: ids.New(), Subject: id},
	}})
	_, token = f.Token(authpb.TokenKind_TOKEN_KIND_ENTRYPOINT, id)
	return id, token
}

// SetConfig sets a variable of the app.
func SetConfig(t testing.TB, f *rpctest.Fixture, name, value string) {
	t.Helper()
	scope := &configpb.Scope{Project: "shop", App: "web"}
	sealed, err := f.Keyring.Seal([]byte(value), []byte("config/shop/web//"+name), ids.New())
	if err != nil {
		t.Fatal(err)
	}
	f.Do(&commandpb.Command_ConfigSet{ConfigSet: &commandpb.ConfigSet{Changes: []*configpb.Change{
		{Scope: scope, Name: name, Sealed: sealed, Origin: configpb.Origin_ORIGIN_SET},
	}}})
}
