package fsm

import (
	"google.golang.org/protobuf/proto"

	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/state"
)

// bootstrap makes a cluster of an empty state. Its result names the cluster.
func bootstrap(o *op, c *commandpb.Bootstrap) (*commandpb.Result, error) {
	if id := o.Meta().ClusterID; id != "" {
		return nil, errs.New(errs.Conflict, "the state belongs to cluster %s already", id)
	}
	if c.GetClusterId() == "" || c.GetEpoch() == "" || c.GetNode().GetId() == "" || c.GetNodeVersion() == 0 {
		return nil, errs.New(errs.Invalid, "a bootstrap needs a cluster id, an epoch, a node and a node protocol version")
	}
	o.SetCluster(c.GetClusterId(), c.GetEpoch(), c.GetNodeVersion())
	for _, secret := range c.GetSecrets() {
		state.Put(o.WriteTx, secret)
	}
	if err := listNode(o, c.GetNode()); err != nil {
		return nil, err
	}
	if c.GetToken() != nil {
		if err := insertToken(o, c.GetToken(), "bootstrap"); err != nil {
			return nil, err
		}
	}
	return done(c.GetClusterId()), nil
}

func noop(*op, *commandpb.Noop) (*commandpb.Result, error) {
	return unchanged(), nil
}

// listNode makes a node a member.
func listNode(o *op, node *clusterpb.Node) error {
	if o.Node(node.GetId()) != nil {
		return errs.New(errs.AlreadyExists, "node %s is a member already", node.GetId())
	}
	if err := freeNodeName(o, node); err != nil {
		return err
	}
	row := proto.CloneOf(node)
	row.JoinedAt, row.BootedAt = o.now, o.now
	state.Put(o.WriteTx, row)
	return nil
}

func freeNodeName(o *op, node *clusterpb.Node) error {
	if node.GetId() == "" || node.GetName() == "" {
		return errs.New(errs.Invalid, "a node needs an id and a name")
	}
	if other := o.NodeByName(node.GetName()); other != nil && other.GetId() != node.GetId() {
		return errs.New(errs.AlreadyExists, "another node is called %q: choose another name", node.GetName())
	}
	return nil
}

// nodeUpsert brings a member's record up to date. It never makes a member: a
// late one must not bring back who was removed.
func nodeUpsert(o *op, c *commandpb.NodeUpsert) (*commandpb.Result, error) {
	node := c.GetNode()
	if o.caller.nodeID != node.GetId() && o.command.GetTerm() == 0 {
		return nil, errs.New(errs.PermissionDenied, "a node's record is changed by that node or the leader only")
	}
	old := o.Node(node.GetId())
	if old == nil {
		return nil, errs.New(errs.NotFound, "node %s is not a member of the cluster", node.GetId())
	}
	if err := freeNodeName(o, node); err != nil {
		return nil, err
	}
	row := proto.CloneOf(node)
	row.JoinedAt, row.BootedAt = old.GetJoinedAt(), old.GetBootedAt()
	if row.GetBootId() != old.GetBootId() {
		row.BootedAt = o.now
	}
	if row.GetSerial() == "" {
		row.Serial = old.GetSerial()
	}
	if proto.Equal(row, old) {
		return unchanged(node.GetId()), nil
	}
	state.Put(o.WriteTx, row)
	return done(node.GetId()), nil
}

// nodeRemove ends a membership. From here on commands of the node are refused.
func nodeRemove(o *op, c *commandpb.NodeRemove) (*commandpb.Result, error) {
	node := o.Node(c.GetId())
	if node == nil {
		return unchanged(c.GetId()), nil
	}
	state.Delete(o.WriteTx, node)
	lose(o, c.GetId(), func(string) bool { return true })
	return done(c.GetId()), nil
}

// nodeVersionRaise raises the active version of the node protocol. The result
// has the version that is active now.
func nodeVersionRaise(o *op, c *commandpb.NodeVersionRaise) (*commandpb.Result, error) {
	if err := o.leaderOnly(); err != nil {
		return nil, err
	}
	active := o.Meta().NodeVersion
	if c.GetVersion() <= active {
		result := unchanged()
		result.Version = uint64(active)
		return result, nil
	}
	o.SetNodeVersion(c.GetVersion())
	return &commandpb.Result{Version: uint64(c.GetVersion())}, nil
}

// nodeLost marks what was attached to a boot of a node. The result names the
// instances, runners and exec sessions.
func nodeLost(o *op, c *commandpb.NodeLost) (*commandpb.Result, error) {
	if o.caller.nodeID != "" && o.caller.nodeID != c.GetNodeId() && o.command.GetTerm() == 0 {
		return nil, errs.New(errs.PermissionDenied, "only the leader calls another node lost")
	}
	lost := lose(o, c.GetNodeId(), func(boot string) bool {
		return (boot == c.GetBootId()) != c.GetOtherBoots()
	})
	if len(lost) == 0 {
		return unchanged(), nil
	}
	return done(lost...), nil
}

// lose marks the rows that are attached to the boots of the node.
func lose(o *op, nodeID string, boot func(string) bool) (lost []string) {
	for _, row := range o.InstancesOfNode(nodeID) {
		if row.GetState() != deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED || !boot(row.GetNodeBoot()) {
			continue
		}
		row = proto.CloneOf(row)
		row.State, row.ChangedAt = deploymentpb.InstanceState_INSTANCE_STATE_LOST, o.now
		state.Put(o.WriteTx, row)
		lost = append(lost, row.GetId())
	}
	for _, row := range o.RunnersOfNode(nodeID) {
		if row.GetState() != runnerpb.State_STATE_ATTACHED || !boot(row.GetNodeBoot()) {
			continue
		}
		row = proto.CloneOf(row)
		row.State, row.ChangedAt = runnerpb.State_STATE_LOST, o.now
		state.Put(o.WriteTx, row)
		lost = append(lost, row.GetId())
	}
	for _, row := range o.ExecSessionsOn(nodeID) {
		if boot(row.GetNodeBoot()) {
			endUnknown(o, []*execpb.Session{row}, "the server that it ran through was lost")
			lost = append(lost, row.GetId())
		}
	}
	return lost
}
