package command

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"waypoint/api/versionpb"
	"waypoint/command/output"
	"waypoint/protocol"
	"waypoint/version"
)

// versionPatience is how long "version" waits for a server unless told
// otherwise: it must answer soon where none can be reached.
const versionPatience = 3 * time.Second

func versionCommand() *Command {
	f := newFlags()
	var own bool
	f.Bool(&own, "client", "show this program only, ask no server")
	conn := f.writes()
	return &Command{
		Synopsis: "Show the version of this program and of the server",
		Help:     `Ranges are the versions of each protocol that a side speaks; two sides work together where they overlap. With -json the answer is that of the server, or with -client this program's.`,
		Examples: `waypoint version
			waypoint version -client -json`,
		Flags: f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			build := version.Build()
			if own && conn.json {
				return output.Message(env.Stdout, build)
			}
			if !conn.json {
				fmt.Fprintf(env.Stdout, "waypoint  %s\n", describeBuild(build))
			}
			if own {
				return nil
			}
			return serverVersion(ctx, env, conn)
		},
	}
}

func serverVersion(ctx context.Context, env *Env, conn *connection) error {
	if conn.timeout == 0 {
		conn.timeout = versionPatience
	}
	err := conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
		reply, err := versionpb.NewVersionClient(cc).Get(ctx, &versionpb.GetRequest{})
		if err != nil {
			return fmt.Errorf("ask the server: %w", err)
		}
		return conn.show(env, reply, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "server    %s, node %s\n", describeBuild(reply.GetBuild()), reply.GetNodeId())
			return err
		})
	})
	if err != nil && !conn.json {
		// The question about this program was answered.
		_, err = fmt.Fprintf(env.Stdout, "server    not known: %v\n", err)
	}
	return err
}

// describeBuild is a build in one line.
func describeBuild(b *versionpb.Build) string {
	ranges := strings.ReplaceAll(protocol.EncodeRanges(b.GetRanges()), ",", ", ")
	return fmt.Sprintf("%s (%s), protocols %s", b.GetRelease(), b.GetCommit(), ranges)
}
