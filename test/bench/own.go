package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"waypoint/api/clusterpb"
	"waypoint/api/configpb"
	"waypoint/client"
	"waypoint/test/harness"
)

// own is our cluster as the object of load.
type own struct{ *harness.Cluster }

func (own) name() string { return "ours" }

// generator is this very binary in another process, as the peer's generator is.
func (s own) generator(ctx context.Context, l load) *exec.Cmd {
	addrs := make([]string, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		addrs = append(addrs, n.Addr)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", loadCommand, "-addrs="+strings.Join(addrs, ","), "-ca="+s.CA,
		fmt.Sprintf("-clients=%d", l.clients), "-op="+l.op, fmt.Sprintf("-for=%s", l.last))
	if l.profile != "" {
		cmd.Args = append(cmd.Args, "-profile="+l.profile+"-clients.pprof")
	}
	cmd.Env = append(os.Environ(), tokenVariable+"="+s.Token)
	return cmd
}

func (s own) processes(ctx context.Context) ([]int, error) {
	leader, err := s.Leader(ctx)
	if err != nil {
		return nil, err
	}
	pids := []int{leader.Pid()}
	for _, n := range s.Nodes {
		if n != leader {
			pids = append(pids, n.Pid())
		}
	}
	return pids, nil
}

func (s own) strike(ctx context.Context, how syscall.Signal) (struck, error) {
	leader, err := s.Leader(ctx)
	if err != nil {
		return struck{}, err
	}
	k := struck{at: time.Now(), again: func(ctx context.Context) error {
		if err := leader.Start(ctx); err != nil {
			return err
		}
		return s.await(ctx)
	}}
	if how == syscall.SIGKILL {
		leader.Kill()
		return k, nil
	}
	ending, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return k, leader.Terminate(ending)
}

// await waits until every node answers a linearizable read and knows every node
// as a voter that is there.
func (s own) await(ctx context.Context) error {
	for _, n := range s.Nodes {
		conn, err := client.New(client.Config{Addrs: []string{n.Addr}, CA: s.CA, Token: s.Token})
		if err != nil {
			return err
		}
		defer conn.Close()
		err = harness.Until(ctx, 30*time.Second, func() error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			reply, err := clusterpb.NewClusterClient(conn.Conn()).Members(ctx, &clusterpb.MembersRequest{})
			if err == nil {
				_, err = configpb.NewConfigClient(conn.Conn()).Get(ctx, &configpb.GetRequest{})
			}
			if err != nil {
				return err
			}
			for _, m := range reply.GetMembers() {
				if m.GetSuffrage() != "voter" || m.GetGossip() != "alive" {
					return fmt.Errorf("node %s is %s and %s", m.GetNode().GetName(), m.GetGossip(), m.GetSuffrage())
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("as %s sees it: %w", n.Name, err)
		}
	}
	return nil
}
