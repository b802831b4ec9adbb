// Package agent is one server node: it reads the configuration, makes the parts
// and joins them up, runs them, and stops them in order. It is the only place
// that knows all of them. It must hold no logic of its own beyond that.
package agent

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"waypoint/api/nodepb"
	"waypoint/cluster"
	"waypoint/errs"
	"waypoint/fsm"
	"waypoint/internal/task"
	"waypoint/jobs"
	"waypoint/rollout"
	"waypoint/rpc/serve"
	"waypoint/session"
	"waypoint/state"
	"waypoint/version"
)

// Agent is one node. Make it with New and run it once.
type Agent struct {
	logger    hclog.Logger
	userToken string
	restarts  rollout.Timing
	cluster   *cluster.Cluster
	server    *serve.Server
	jobs      *jobs.Jobs
	instances *session.Instances
	runners   *session.Runners

	endSessions context.CancelCauseFunc // ends what is attached to this node
}

// Info is what there is to know about a node that is ready.
type Info struct {
	NodeID        string
	Name          string
	Addr          string // advertised host:port
	ClusterID     string
	CAFingerprint string // "sha256:<hex>"
	UserToken     string // of the node that bootstrapped, in that process only
}

// joinLimit bounds joining a cluster.
const joinLimit = time.Minute

// New opens the node that lies in cfg.DataDir, after making a new cluster or
// joining one if cfg says so; ctx bounds that. Nothing is served before Run.
func New(ctx context.Context, cfg Config, logger hclog.Logger) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Agent{logger: logger, restarts: cfg.Restarts}
	store := state.New()
	settings := cluster.Config{
		DataDir: cfg.DataDir, Name: cfg.Name, Profile: cfg.Profile, LogStore: cfg.LogStore,
		SnapshotAfter: uint64(cfg.SnapshotAfter), SnapshotEvery: cfg.SnapshotEvery,
		ListenAddr: cfg.Addr, AdvertiseAddr: cfg.Advertise,
		GossipAddr: cfg.GossipAddr, GossipAdvertise: cfg.GossipAdvertise,
		Build: version.Build(), Logger: logger.Named("cluster"),
		Store: store, FSM: fsm.New(store, logger.Named("fsm")),
		BeforeLeave: a.beforeLeave,
	}
	if err := a.initialize(ctx, cfg, settings); err != nil {
		return nil, err
	}
	var err error
	if a.cluster, err = cluster.Open(settings); err != nil {
		return nil, err
	}
	if err := a.assemble(store); err != nil {
		return nil, errors.Join(err, a.cluster.Close())
	}
	return a, nil
}

// initialize fills an empty data directory. That is done once, and shows a user
// token once, so what would stop the node right after it is found out before.
func (a *Agent) initialize(ctx context.Context, cfg Config, settings cluster.Config) error {
	if cfg.Bootstrap || cfg.JoinToken != "" {
		if err := cfg.checkFirstStart(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	switch {
	case cfg.Bootstrap:
		made, err := cluster.Bootstrap(ctx, settings)
		if err != nil {
			return err
		}
		a.userToken = made.UserToken
	case cfg.JoinToken != "":
		if err := cluster.Join(ctx, settings, cfg.JoinToken); err != nil {
			return err
		}
	}
	return nil
}

// Ready is closed when the node serves and has caught up.
func (a *Agent) Ready() <-chan struct{} { return a.cluster.Ready() }

// Info tells about the node. It is complete once the node is ready.
func (a *Agent) Info() Info {
	return Info{
		NodeID: a.cluster.NodeID(), Name: a.cluster.Name(), Addr: a.cluster.Addr(),
		ClusterID: a.cluster.ClusterID(), CAFingerprint: a.cluster.CAFingerprint(), UserToken: a.userToken,
	}
}

// ServiceInfo lists the services that the node offers, by full name.
func (a *Agent) ServiceInfo() map[string]grpc.ServiceInfo { return a.server.GetServiceInfo() }

// Run serves until ctx ends, then leaves well and returns nil; or it returns
// the error that ended the node.
func (a *Agent) Run(ctx context.Context) error {
	sessions, endSessions := context.WithCancelCause(context.WithoutCancel(ctx))
	defer endSessions(nil)
	a.endSessions = endSessions
	left := make(chan struct{}) // closed when the cluster part has ended
	group := task.NewGroup(context.WithoutCancel(ctx))
	group.Go("cluster", func(failed context.Context) error {
		defer close(left)
		running, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		defer context.AfterFunc(failed, func() { stop(context.Cause(failed)) })()
		return unlessCanceled(a.cluster.Run(running))
	})
	group.Go("api", func(context.Context) error { return a.serve() })
	group.Go("end of the api", func(context.Context) error {
		<-left
		a.server.Stop()
		return nil
	})
	group.Go("instances", func(context.Context) error { return unlessCanceled(a.instances.Run(sessions)) })
	group.Go("runners", func(context.Context) error { return unlessCanceled(a.runners.Run(sessions)) })
	group.Go("sessions", func(context.Context) error {
		<-left
		endSessions(errLeaving)
		return nil
	})
	return group.Wait()
}

// serve answers calls until the server is stopped, or the cluster part has
// ended and closed its listener; why it did is for that part to say.
func (a *Agent) serve() error {
	err := a.server.Serve(a.cluster.GRPCListener())
	if errors.Is(err, grpc.ErrServerStopped) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

var errLeaving = errs.New(errs.Unavailable, "this node is leaving: use another one")

const (
	drainShare  = 2 // of the time to leave, half is for sessions to move
	callsBound  = 3 * time.Second
	drainMostly = 8 * time.Second
)

// beforeLeave is the part of leaving that concerns clients, in this order:
// sessions are asked to move while the node still serves them; then what has
// not moved is cut; then calls in flight finish while Raft still runs.
func (a *Agent) beforeLeave(ctx context.Context) {
	limit := drainMostly
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/drainShare)
	}
	moving, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var instances, runners int
	_ = task.Run(moving, // neither fails
		func(ctx context.Context) error { instances = a.instances.Drain(ctx); return nil },
		func(ctx context.Context) error { runners = a.runners.Drain(ctx); return nil },
	)
	if instances+runners > 0 {
		a.logger.Warn("not everything has moved to other nodes", "instances", instances, "runners", runners)
	}
	a.endSessions(errLeaving)
	finishing, cancel := context.WithTimeout(ctx, callsBound)
	defer cancel()
	defer context.AfterFunc(finishing, a.server.Stop)()
	a.server.GracefulStop()
}

// renewLeases asks the leader, which may be this node.
func (a *Agent) renewLeases(ctx context.Context, renewals []*nodepb.Renewal) ([]bool, error) {
	leader := a.cluster.LeaderID()
	if leader == "" {
		return nil, errs.New(errs.Unavailable, "renew leases: no leader")
	}
	var granted []bool
	if leader == a.cluster.NodeID() {
		granted = a.jobs.Renew(ctx, renewals)
	} else {
		peer, err := a.cluster.Peer(leader)
		if err != nil {
			return nil, err
		}
		reply, err := nodepb.NewNodeServiceClient(peer).RenewLeases(ctx, &nodepb.RenewLeasesRequest{Renewals: renewals})
		if err != nil {
			return nil, errs.FromStatus(err)
		}
		granted = reply.GetGranted()
	}
	if len(granted) != len(renewals) {
		return nil, errs.New(errs.Unavailable, "renew leases: the leader is not ready")
	}
	return granted, nil
}

func unlessCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
