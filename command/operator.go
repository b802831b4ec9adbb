package command

import (
	"context"
	"fmt"
	"io"

	"github.com/posener/complete"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/client"
	"waypoint/command/output"
)

func operatorMembersCommand() *Command {
	f := newFlags()
	conn := f.reads()
	return &Command{
		Synopsis: "List the server nodes",
		Help:     `GOSSIP is what the answering node hears of the others; SUFFRAGE tells voters from nodes that are still catching up. The star marks the leader.`,
		Examples: `waypoint operator members`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := clusterpb.NewClusterClient(cc).Members(ctx, &clusterpb.MembersRequest{})
				if err != nil {
					return fmt.Errorf("list members: %w", err)
				}
				table := output.NewTable("", "NAME", "ADDRESS", "GOSSIP", "SUFFRAGE", "RELEASE", "BOOTED", "ID")
				for _, m := range reply.GetMembers() {
					n := m.GetNode()
					table.Row(leaderMark(m.GetLeader()), n.GetName(), n.GetAddr(), m.GetGossip(), m.GetSuffrage(), n.GetBuild().GetRelease(), output.Ago(env.Now(), n.GetBootedAt()), n.GetId())
				}
				return conn.show(env, reply, orHint(table, "The cluster lists no members."))
			})
		},
	}
}

func operatorRaftListPeersCommand() *Command {
	f := newFlags()
	conn := f.reads()
	return &Command{
		Synopsis: "List the consensus group as a node sees it",
		Help:     `Where this and "waypoint operator members" differ, this is the authority. CONTACT is how long ago the leader last heard of a follower; other nodes do not know it.`,
		Examples: `waypoint operator raft list-peers`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := clusterpb.NewClusterClient(cc).RaftPeers(ctx, &clusterpb.RaftPeersRequest{})
				if err != nil {
					return fmt.Errorf("list peers: %w", err)
				}
				return conn.show(env, reply, func(w io.Writer) error { return showPeers(w, reply) })
			})
		},
	}
}

func showPeers(w io.Writer, reply *clusterpb.RaftPeersResponse) error {
	table := output.NewTable("", "NAME", "ADDRESS", "SUFFRAGE", "CONTACT", "ID")
	for _, p := range reply.GetPeers() {
		contact := ""
		if ms := p.GetLastContactMs(); ms > 0 {
			contact = fmt.Sprintf("%dms", ms)
		}
		table.Row(leaderMark(p.GetLeader()), p.GetName(), p.GetAddr(), p.GetSuffrage(), contact, p.GetId())
	}
	if err := table.Write(w); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nterm %d, configuration at %d, committed %d, applied %d\n", reply.GetTerm(), reply.GetIndex(), reply.GetCommitIndex(), reply.GetAppliedIndex())
	return err
}

// nodeNames gives lists the names of server nodes in place of their ids. A
// cluster that cannot tell is no reason not to show the list.
func nodeNames(ctx context.Context, cc Conn) func(id string) string {
	names := map[string]string{}
	if reply, err := clusterpb.NewClusterClient(cc).Members(client.WithStale(ctx), &clusterpb.MembersRequest{}); err == nil {
		for _, m := range reply.GetMembers() {
			names[m.GetNode().GetId()] = m.GetNode().GetName()
		}
	}
	return func(id string) string {
		if name := names[id]; name != "" {
			return name
		}
		return id
	}
}

func leaderMark(leader bool) string {
	if leader {
		return "*"
	}
	return " "
}

func operatorTokenRecoverCommand() *Command {
	f := newFlags()
	n := newToken{kind: "user"}
	var dataDir string
	var asJSON bool
	f.String(&dataDir, "data-dir", "", complete.PredictDirs("*"), "data `folder` of a node on this host; the node must be running")
	f.String(&n.subject, "subject", "admin", complete.PredictAnything, "`name` of the user")
	n.lifetimeFlag(f)
	f.jsonFlag(&asJSON)
	return &Command{
		Synopsis: "Make a user token when the last one is lost",
		Help:     `This needs no token: it uses the node's own certificate, so it works for who can read the node's data folder. Revoke the lost token afterwards.`,
		Examples: `waypoint operator token recover -data-dir=/var/lib/waypoint`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if dataDir == "" {
				return usagef("-data-dir is missing: the data folder of a node on this host")
			}
			request, err := n.request()
			if err != nil {
				return err
			}
			request.Description = "recovered on a node's host"
			cc, err := env.DialAsNode(env.path(dataDir))
			if err != nil {
				return err
			}
			defer cc.Close()
			reply, err := authpb.NewAuthClient(cc).CreateToken(ctx, request)
			if err != nil {
				return fmt.Errorf("recover a token: %w", err)
			}
			if asJSON {
				return output.Message(env.Stdout, reply)
			}
			return showNewToken(env.Stdout, env, reply)
		},
	}
}
