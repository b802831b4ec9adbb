// Package cluster serves the cluster's members to people and lets new nodes in.
// It does none of this itself: it checks requests and asks what runs the node.
package cluster

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"waypoint/api/clusterpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/call"
	"waypoint/rpc/names"
	"waypoint/rpc/read"
)

const (
	defaultLifetime = time.Hour
	minLifetime     = time.Minute
	maxLifetime     = 30 * 24 * time.Hour

	maxSecret = 256      // bytes
	maxCSR    = 16 << 10 // bytes
	maxAddr   = 512      // bytes
)

// Cluster is what the service asks of the running node.
type Cluster interface {
	// Members returns all members as this node sees them, sorted by name.
	Members() []*clusterpb.Member
	// RaftPeers returns Raft's configuration as this node sees it.
	RaftPeers() (*clusterpb.RaftPeersResponse, error)
	// Servers returns the addresses of the members that gossip holds alive.
	Servers() []string
	// CreateJoinToken makes a token for one new node. The same request id
	// gives the same token.
	CreateJoinToken(ctx context.Context, requestID, tokenID string, lifetime time.Duration) (*clusterpb.CreateJoinTokenResponse, error)
	// RemoveNode ends a node's membership and returns the index of that command;
	// KIND_CONFLICT if that would leave too few voters that answer. The same
	// request id again does no harm.
	RemoveNode(ctx context.Context, requestID, tokenID, nodeID string, force bool) (uint64, error)
	// AcceptJoin checks a join token and gives the new node its certificate.
	AcceptJoin(ctx context.Context, req *clusterpb.JoinRequest) (*clusterpb.JoinResponse, error)
}

// Config is what the service needs.
type Config struct {
	Reader  *read.Reader
	Cluster Cluster
}

// Service answers for package waypoint.cluster.
type Service struct {
	clusterpb.UnimplementedClusterServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { clusterpb.RegisterClusterServer(r, s) }

// Members lists the nodes as this one sees them: gossip's view needs no leader.
func (s *Service) Members(context.Context, *clusterpb.MembersRequest) (*clusterpb.MembersResponse, error) {
	return &clusterpb.MembersResponse{
		Members:           s.cfg.Cluster.Members(),
		ActiveNodeVersion: s.cfg.Reader.Local().Meta().NodeVersion,
	}, nil
}

// RaftPeers shows Raft's configuration and progress as this node sees them.
func (s *Service) RaftPeers(context.Context, *clusterpb.RaftPeersRequest) (*clusterpb.RaftPeersResponse, error) {
	return s.cfg.Cluster.RaftPeers()
}

// Servers lists the addresses that clients may use.
func (s *Service) Servers(context.Context, *clusterpb.ServersRequest) (*clusterpb.ServersResponse, error) {
	return &clusterpb.ServersResponse{Addrs: s.cfg.Cluster.Servers()}, nil
}

// CreateJoinToken makes a token that lets one new node in.
func (s *Service) CreateJoinToken(ctx context.Context, req *clusterpb.CreateJoinTokenRequest) (*clusterpb.CreateJoinTokenResponse, error) {
	lifetime := defaultLifetime
	if req.GetLifetime() != nil {
		lifetime = req.GetLifetime().AsDuration()
	}
	if lifetime < minLifetime || lifetime > maxLifetime {
		return nil, errs.New(errs.Invalid, "the join token's lifetime %s is out of range: give %s to 30 days", lifetime, minLifetime)
	}
	info := call.From(ctx)
	return s.cfg.Cluster.CreateJoinToken(ctx, info.RequestID, info.TokenID, lifetime)
}

// RemoveNode ends a node's membership. An id that is not a member's any more is
// passed on: the call may be one that is made again.
func (s *Service) RemoveNode(ctx context.Context, req *clusterpb.RemoveNodeRequest) (*clusterpb.RemoveNodeResponse, error) {
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	node := tx.Node(req.GetNode())
	if node == nil {
		node = tx.NodeByName(req.GetNode())
	}
	if node == nil {
		if _, err := ids.Time(req.GetNode()); err != nil {
			return nil, errs.New(errs.NotFound, "there is no node %q: \"waypoint operator members\" lists them", names.Short(req.GetNode()))
		}
		node = &clusterpb.Node{Id: req.GetNode()}
	}
	info := call.From(ctx)
	index, err := s.cfg.Cluster.RemoveNode(ctx, info.RequestID, info.TokenID, node.GetId(), req.GetForce())
	if err != nil {
		return nil, err
	}
	info.Observe(index)
	return &clusterpb.RemoveNodeResponse{Node: node}, nil
}

// Join lets a node in that holds a join token. Anybody may call it: the token's
// secret is in the request.
func (s *Service) Join(ctx context.Context, req *clusterpb.JoinRequest) (*clusterpb.JoinResponse, error) {
	if err := checkJoin(req); err != nil {
		return nil, err
	}
	return s.cfg.Cluster.AcceptJoin(ctx, req)
}

func checkJoin(req *clusterpb.JoinRequest) error {
	const next = "join with the token that \"waypoint server join-token\" prints"
	switch node := req.GetNode(); {
	case req.GetTokenId() == "" || len(req.GetSecret()) == 0:
		return errs.New(errs.Invalid, "the join request carries no token: %s", next)
	case len(req.GetTokenId())+len(req.GetSecret()) > maxSecret:
		return errs.New(errs.Invalid, "the join token is too long: %s", next)
	case len(req.GetCsr()) == 0 || len(req.GetCsr()) > maxCSR:
		return errs.New(errs.Invalid, "the join request's certificate request has %d bytes and must have 1 to %d: %s", len(req.GetCsr()), maxCSR, next)
	case node.GetId() == "":
		return errs.New(errs.Invalid, "the join request names no node id: %s", next)
	case len(node.GetAddr())+len(node.GetGossipAddr()) > maxAddr: // none is fine: it is known once the node listens
		return errs.New(errs.Invalid, "the joining node %s advertises too long an address: set -advertise to host:port", names.Short(node.GetName()))
	}
	return names.Check("node", req.GetNode().GetName())
}
