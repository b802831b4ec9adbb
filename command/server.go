package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/posener/complete"
	"google.golang.org/protobuf/types/known/durationpb"

	"waypoint/agent"
	"waypoint/api/clusterpb"
	"waypoint/command/output"
)

const serverRunHelp = `The first node of a cluster is started with -bootstrap; it prints a user token, once, and the commands to log in with and to add nodes. Each further node is started with the token that "waypoint server join-token" prints. After that, -data-dir alone is enough.

The node listens on -addr (TLS: API and consensus) and -gossip-addr (encrypted). Where other machines reach it under another address, -advertise and -gossip-advertise name that.

SIGTERM or Ctrl-C makes it leave well: it hands leadership over and finishes what is in flight. A second signal ends it at once.`

func serverRunCommand() *Command {
	f := newFlags()
	cfg := agent.Config{}
	var asJSON bool
	again := "; default: as at its last start, at first "
	f.String(&cfg.DataDir, "data-dir", "", complete.PredictDirs("*"), "`folder` of the node's data; made if missing")
	f.String(&cfg.Name, "name", "", complete.PredictAnything, "`name` of the node, unique in the cluster"+again+"the host's name")
	f.String(&cfg.Addr, "addr", "", complete.PredictAnything, "`host:port` to listen on for the API and other nodes"+again+agent.DefaultAddr)
	f.String(&cfg.Advertise, "advertise", "", complete.PredictAnything, "`host:port` that others reach -addr under, if it is another")
	f.String(&cfg.GossipAddr, "gossip-addr", "", complete.PredictAnything, "`host:port` to listen on for gossip, tcp and udp"+again+agent.DefaultGossipAddr)
	f.String(&cfg.GossipAdvertise, "gossip-advertise", "", complete.PredictAnything, "`host:port` that others reach -gossip-addr under, if it is another")
	f.String(&cfg.Profile, "profile", "", complete.PredictSet(agent.Profiles()...), "timers of the consensus (`profile`): lan or wan"+again+agent.DefaultProfile)
	f.String(&cfg.LogStore, "log-store", "", complete.PredictSet(agent.LogStores()...), "what keeps the consensus log (`store`): "+strings.Join(agent.LogStores(), " or ")+again+agent.LogStores()[0]+". It is changed with \"waypoint server migrate-log\"")
	f.Uint(&cfg.SnapshotAfter, "snapshot-after", 0, "take a snapshot of the state after so many log entries (`number`)"+again+"16384")
	f.Duration(&cfg.SnapshotEvery, "snapshot-every", 0, "look that often, or half as often, whether there are so many (`time`)"+again+"2m")
	f.Bool(&cfg.Bootstrap, "bootstrap", "make a new cluster; the data folder must hold none")
	f.String(&cfg.JoinToken, "join-token", "", complete.PredictAnything, "join a cluster with this `token`; @file reads it from a file. WAYPOINT_JOIN_TOKEN is used if the data folder is empty")
	f.Bool(&asJSON, "json", "once ready, print what there is to know as one JSON object")
	log := f.logging("info")
	return &Command{
		Synopsis: "Run a server node",
		Help:     serverRunHelp,
		Examples: `waypoint server run -bootstrap -data-dir=n1 -name=n1 -addr=10.0.0.1:9701 -gossip-addr=10.0.0.1:9703
			waypoint server run -join-token=@join.txt -data-dir=n2 -name=n2 -addr=10.0.0.2:9701 -gossip-addr=10.0.0.2:9703
			waypoint server run -data-dir=n1`,
		Flags: f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			logger, err := log.logger(env, "waypoint")
			if err != nil {
				return err
			}
			if err := completeNodeConfig(env, &cfg); err != nil {
				return err
			}
			node, err := env.NewNode(ctx, cfg, logger)
			if err != nil {
				return err
			}
			return runNode(ctx, env, node, cfg, asJSON)
		},
	}
}

func completeNodeConfig(env *Env, cfg *agent.Config) error {
	if cfg.DataDir != "" {
		cfg.DataDir = env.path(cfg.DataDir)
	}
	token, err := readValue(env, cfg.JoinToken)
	if err != nil {
		return err
	}
	if token == "" && !cfg.Bootstrap && emptyFolder(cfg.DataDir) {
		// Whoever starts a node always with the same environment wants
		// it to join once and to go on after that.
		token = env.Getenv("WAYPOINT_JOIN_TOKEN")
	}
	cfg.JoinToken = token
	if err := cfg.Validate(); err != nil {
		return usagef("%v", err)
	}
	return nil
}

func emptyFolder(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err != nil || len(entries) == 0
}

func runNode(ctx context.Context, env *Env, node Node, cfg agent.Config, asJSON bool) error {
	done := make(chan error, 1)
	go func() { done <- node.Run(ctx) }()
	var err, printErr error
	ended := false
	select {
	case <-node.Ready():
	case err = <-done:
		ended = true
	}
	select {
	case <-node.Ready(): // also if it has ended since: a first user token is shown this once
		printErr = showNode(env, node.Info(), cfg, asJSON)
	default:
	}
	if !ended {
		err = <-done
	}
	if errors.Is(context.Cause(ctx), errInterrupted) && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return errors.Join(err, printErr)
}

// shownNode is what a node tells about itself with -json.
type shownNode struct {
	NodeID        string `json:"nodeId"`
	Name          string `json:"name"`
	Addr          string `json:"addr"`
	ClusterID     string `json:"clusterId"`
	CAFingerprint string `json:"caFingerprint"`
	UserToken     string `json:"userToken,omitempty"`
}

func showNode(env *Env, info agent.Info, cfg agent.Config, asJSON bool) error {
	if asJSON {
		return output.Value(env.Stdout, shownNode{info.NodeID, info.Name, info.Addr, info.ClusterID, info.CAFingerprint, info.UserToken})
	}
	style := env.style(env.Stdout)
	fmt.Fprintf(env.Stdout, "%s\n\n", style.Bold("Node "+info.Name+" is ready."))
	fields := &output.Fields{}
	fields.Add("Node", info.NodeID)
	fields.Add("Address", info.Addr)
	fields.Add("Cluster", info.ClusterID)
	fields.Add("CA", info.CAFingerprint)
	fields.Add("Data", cfg.DataDir)
	if err := fields.Write(env.Stdout, "  "); err != nil {
		return err
	}
	if info.UserToken != "" {
		showFirstLogin(env.Stdout, info, cfg)
	}
	_, err := fmt.Fprintf(env.Stdout, "\nPress Ctrl-C to stop this node.\n")
	return err
}

// showFirstLogin tells whoever has just made a cluster how to go on.
func showFirstLogin(w io.Writer, info agent.Info, cfg agent.Config) {
	fmt.Fprintf(w, `
This is a new cluster. Log in from another terminal with its first user token,
which is shown this once and kept nowhere:

  waypoint login -addr=%s -ca=%s -token=%s

Then add nodes. Each needs a token of its own, and a name, if not its host's:

  waypoint server join-token
  waypoint server run -join-token=TOKEN -data-dir=FOLDER -name=NAME

Back up %s in a safe place:
everything secret in the cluster is sealed with it.
`, info.Addr, info.CAFingerprint, info.UserToken, filepath.Join(cfg.DataDir, "root.keyring"))
}

func serverJoinTokenCommand() *Command {
	f := newFlags()
	var lifetime time.Duration
	f.Duration(&lifetime, "lifetime", 0, "how long the token is valid; default: 1h (`duration`)")
	conn := f.writes()
	return &Command{
		Synopsis: "Make a token that lets one node join",
		Help:     `The token holds the addresses of servers, the fingerprint of the cluster's certificate authority and a secret. It works once. Only the token goes to standard output.`,
		Examples: `waypoint server join-token -lifetime=10m >join.txt`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			request := &clusterpb.CreateJoinTokenRequest{}
			if lifetime < 0 {
				return usagef("-lifetime=%s: a token cannot end before it begins", lifetime)
			}
			if lifetime > 0 {
				request.Lifetime = durationpb.New(lifetime)
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := clusterpb.NewClusterClient(cc).CreateJoinToken(ctx, request)
				if err != nil {
					return fmt.Errorf("make a join token: %w", err)
				}
				return conn.show(env, reply, func(w io.Writer) error {
					fmt.Fprintf(env.Stderr, "This token lets one node join and expires %s. On the new node:\n\n  waypoint server run -join-token=TOKEN -data-dir=FOLDER -name=NAME\n\n", output.Ago(env.Now(), reply.GetExpiresAt()))
					_, err := fmt.Fprintln(w, reply.GetText())
					return err
				})
			})
		},
	}
}
