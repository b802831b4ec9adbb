package command

import (
	"context"
	"fmt"
	"io"

	"waypoint/api/clusterpb"
	"waypoint/client"
)

const removePeerHelp = `Use it for a node that will not come back. The node loses its vote, its access and its name, which a new node may then take: "waypoint server join-token" makes the token for that one. What was attached to the node counts as lost and attaches elsewhere. A node that runs on when it is removed finds out, says so and ends; its data folder is of no more use.

It is refused where too few of the other voters answer to be a majority of those that are left. With -force it is tried all the same, and the cluster may stand still until enough of them are back. The leader can be removed too: it hands over first.`

func operatorRaftRemovePeerCommand() *Command {
	f := newFlags()
	request := &clusterpb.RemoveNodeRequest{}
	f.Bool(&request.Force, "force", "also if too few of the other voters answer")
	conn := f.writes()
	return &Command{
		Synopsis: "Remove a server node for good",
		Args:     "NAME|ID",
		Help:     removePeerHelp,
		Examples: `waypoint operator raft remove-peer n3`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			node, err := oneArg(args, "NAME or ID of the node")
			if err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				name, id := memberCalled(ctx, cc, node)
				request.Node = id
				reply, err := clusterpb.NewClusterClient(cc).RemoveNode(ctx, request)
				if err != nil {
					return fmt.Errorf("remove node %s: %w", node, err)
				}
				return conn.show(env, reply, func(w io.Writer) error {
					if reply.GetNode().GetName() != "" {
						name = reply.GetNode().GetName()
					}
					_, err := fmt.Fprintf(w, "Removed node %s (%s). Another node may take its name.\n", name, reply.GetNode().GetId())
					return err
				})
			})
		},
	}
}

// memberCalled returns the name and the id of the member that text means. The
// call goes out with the id: one that is repeated because its answer was lost
// would not find the name any more. What the list does not have, the cluster
// answers for.
func memberCalled(ctx context.Context, cc Conn, text string) (name, id string) {
	reply, err := clusterpb.NewClusterClient(cc).Members(client.WithStale(ctx), &clusterpb.MembersRequest{})
	if err != nil {
		return text, text
	}
	for _, m := range reply.GetMembers() {
		if n := m.GetNode(); n.GetId() == text || n.GetName() == text {
			return n.GetName(), n.GetId()
		}
	}
	return text, text
}
