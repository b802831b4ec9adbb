package agent

import (
	"context"
	"slices"

	"google.golang.org/grpc"

	"waypoint/cluster"
	"waypoint/jobs"
	"waypoint/protocol"
	"waypoint/rollout"
	rpcauth "waypoint/rpc/auth"
	rpccluster "waypoint/rpc/cluster"
	rpcconfig "waypoint/rpc/config"
	rpcdeployment "waypoint/rpc/deployment"
	rpcentrypoint "waypoint/rpc/entrypoint"
	rpcexec "waypoint/rpc/exec"
	rpcjob "waypoint/rpc/job"
	rpclogs "waypoint/rpc/logs"
	rpcnode "waypoint/rpc/node"
	rpcproject "waypoint/rpc/project"
	"waypoint/rpc/read"
	rpcrunner "waypoint/rpc/runner"
	"waypoint/rpc/serve"
	rpcversion "waypoint/rpc/version"
	"waypoint/session"
	"waypoint/state"
)

// service is one of the services that a node offers.
type service interface {
	Register(grpc.ServiceRegistrar)
}

// assemble makes everything that works on top of the cluster.
func (a *Agent) assemble(store *state.Store) error {
	a.instances = session.NewInstances(session.InstancesConfig{
		NodeID: a.cluster.NodeID(), BootID: a.cluster.BootID(), Store: store, Applier: a.cluster,
		Open:    a.cluster.Keyring().Open,
		Servers: a.cluster.Servers, OtherServers: a.otherServers,
		Now: a.cluster.Now, Logger: a.logger.Named("instances"),
	})
	a.runners = session.NewRunners(session.RunnersConfig{
		NodeID: a.cluster.NodeID(), BootID: a.cluster.BootID(), Store: store, Applier: a.cluster,
		RenewLeases: a.renewLeases,
		Servers:     a.cluster.Servers, OtherServers: a.otherServers,
		Now: a.cluster.Now, Logger: a.logger.Named("runners"),
	})
	a.jobs = jobs.New(jobs.Config{Store: store, Logger: a.logger.Named("jobs")})
	a.cluster.WhileLeader("jobs", func(ctx context.Context, lead cluster.Leader) error { return a.jobs.Run(ctx, lead) })
	restarts := rollout.New(rollout.Config{Timing: a.restarts, Store: store, Now: a.cluster.Now, Logger: a.logger.Named("rollout")})
	a.cluster.WhileLeader("rollout", func(ctx context.Context, lead cluster.Leader) error { return restarts.Run(ctx, lead) })

	var err error
	a.server, err = serve.New(serve.Config{
		Store: store, Fresh: a.cluster, Peers: a.cluster, TokenKey: a.cluster.TokenKey,
		Credentials: a.cluster.GRPCCredentials(), NodeName: a.cluster.Name(),
		Ranges: protocol.Current(), Now: a.cluster.Now, Logger: a.logger.Named("api"),
	})
	if err != nil {
		return err
	}
	for _, s := range a.services(store) {
		s.Register(a.server)
	}
	return a.server.Check()
}

// services is every service of a node. Each gets what it needs and no more.
func (a *Agent) services(store *state.Store) []service {
	c, id, reader := a.cluster, a.cluster.NodeID(), read.New(store, a.cluster)
	return []service{
		rpcversion.New(rpcversion.Config{Reader: reader, NodeID: id, Servers: c.Servers}),
		rpcauth.New(rpcauth.Config{Reader: reader, Applier: c, TokenKey: c.TokenKey}),
		rpcproject.New(rpcproject.Config{Reader: reader, Applier: c}),
		rpcconfig.New(rpcconfig.Config{Reader: reader, Applier: c, Sealer: c.Keyring()}),
		rpcdeployment.New(rpcdeployment.Config{Reader: reader, Applier: c, TokenKey: c.TokenKey,
			Servers: c.Servers, CA: c.CAFingerprint()}),
		rpcjob.New(rpcjob.Config{Applier: c, Reader: reader, Store: store, NodeID: id, Outputs: a.runners,
			Peer: c.Peer, Waiting: jobs.Waiting, Logger: a.logger.Named("job")}),
		rpcrunner.New(rpcrunner.Config{Reader: reader, Sessions: a.runners}),
		rpcentrypoint.New(a.instances),
		rpclogs.New(rpclogs.Config{Reader: reader, NodeID: id, Local: a.instances, Peer: c.Peer,
			Logger: a.logger.Named("logs")}),
		rpcexec.New(rpcexec.Config{Reader: reader, NodeID: id, Local: a.instances, Peer: c.Peer, Now: c.Now}),
		rpccluster.New(rpccluster.Config{Reader: reader, Cluster: c}),
		rpcnode.New(rpcnode.Config{Cluster: c, Leases: a.jobs, Instances: a.instances, Outputs: a.runners}),
	}
}

// otherServers returns the addresses of the members that are not this node.
func (a *Agent) otherServers() []string {
	own := a.cluster.Addr()
	return slices.DeleteFunc(slices.Clone(a.cluster.Servers()), func(addr string) bool { return addr == own })
}
