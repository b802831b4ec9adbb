package command

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"waypoint/agent"
	"waypoint/client"
	"waypoint/cluster"
	"waypoint/errs"
	"waypoint/internal/collector"
	"waypoint/protocol"
	"waypoint/runner"
)

// liveConn is a connection through package client.
type liveConn struct {
	grpc.ClientConnInterface
	*client.Client
}

func dial(t Target) (Conn, error) {
	c, err := newClient(t, false, nil)
	if err != nil {
		return nil, err
	}
	return liveConn{ClientConnInterface: c.Conn(), Client: c}, nil
}

func newClient(t Target, spread bool, logger hclog.Logger) (*client.Client, error) {
	return client.New(client.Config{Addrs: t.Addrs, CA: t.CA, Token: t.Token, Spread: spread, Logger: logger})
}

// nodeConn is a connection to one node with a node's certificate.
type nodeConn struct {
	*grpc.ClientConn
	addr string
}

func dialAsNode(dataDir string) (Conn, error) {
	config, addr, err := cluster.LocalCredentials(dataDir)
	if err != nil {
		return nil, err
	}
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("connect to the node at %s: %w", addr, err)
	}
	return nodeConn{ClientConn: cc, addr: addr}, nil
}

func (n nodeConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	// Without a request id the node makes one, by the cluster's time.
	ctx = metadata.AppendToOutgoingContext(ctx, protocol.HeaderRanges, protocol.EncodeRanges(protocol.Current()))
	err := n.ClientConn.Invoke(ctx, method, args, reply, opts...)
	answered := len(status.Convert(err).Details()) > 0 // only a node adds any
	if err = errs.FromStatus(err); !answered && errs.Is(err, errs.Unavailable) {
		return errs.New(errs.Unavailable, "the node at %s does not answer; start it, then try again: %w", n.addr, err)
	}
	return err
}

func (n nodeConn) Current() string { return n.addr }

func (n nodeConn) Avoid(string) {}

// liveRunner is a runner with the connection that it alone uses.
type liveRunner struct {
	*runner.Runner
	client *client.Client
}

func newRunner(t Target, cfg runner.Config) (Runner, error) {
	c, err := newClient(t, !cfg.Local, cfg.Logger)
	if err != nil {
		return nil, err
	}
	cfg.Client = c
	return liveRunner{Runner: runner.New(cfg), client: c}, nil
}

func (r liveRunner) Run(ctx context.Context) error {
	defer r.client.Close()
	return r.Runner.Run(ctx)
}

// pacedNode is a node with the memory of a process of its own.
type pacedNode struct {
	*agent.Agent
	pace *collector.Pace
}

func newNode(ctx context.Context, cfg agent.Config, logger hclog.Logger) (Node, error) {
	pace := collector.Starting()
	a, err := agent.New(ctx, cfg, logger)
	if err != nil {
		return nil, err
	}
	return pacedNode{a, pace}, nil
}

// Run runs the node.
func (n pacedNode) Run(ctx context.Context) error {
	pacing, stop := context.WithCancel(ctx)
	var pacer sync.WaitGroup
	pacer.Go(func() { _ = n.pace.Run(pacing, n.Ready()) }) // it only ever ends with its context
	defer pacer.Wait()
	defer stop()
	return n.Agent.Run(ctx)
}
