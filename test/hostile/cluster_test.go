package hostile

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"waypoint/api/clusterpb"
	"waypoint/client"
	"waypoint/internal/wait"
)

// What the cluster promises others, whatever hostile clients do.
const (
	// callLimit bounds each call of an honest client, on a machine that has nothing
	// else to do; see share.
	callLimit = 4 * time.Second
	// patience is how long a call is waited for at all.
	patience = time.Minute
	// memoryLimit bounds what the nodes together hold at any time, in bytes.
	memoryLimit = 512 << 20
	// calmWithin is how soon everything of a hostile client is gone after it.
	calmWithin = 20 * time.Second
	// More than this of what was there before may stay: connections between nodes
	// and caches come and go.
	moreGoroutines = 60
	moreFiles      = 30
	moreMemory     = 48 << 20
)

// nodes is a running cluster.
type nodes struct {
	greeting
	t   *testing.T
	api *client.Client
	pid int

	mu  sync.Mutex // held for one question and its answer
	ask io.Writer
	out *json.Decoder
}

func startNodes(t *testing.T) *nodes {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), nodesDir+"="+t.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the nodes: %v", err)
		}
	})
	n := &nodes{t: t, pid: cmd.Process.Pid, ask: in, out: json.NewDecoder(bufio.NewReader(out))}
	if err := n.out.Decode(&n.greeting); err != nil {
		t.Fatalf("the nodes did not start: %v", err)
	}
	n.api = n.dial(n.Addrs...)
	n.awaitVoters()
	return n
}

func (n *nodes) awaitVoters() {
	n.t.Helper()
	wait.For(n.t, time.Minute, "all nodes to vote", func() bool {
		ctx, cancel := context.WithTimeout(n.t.Context(), 5*time.Second)
		defer cancel()
		reply, err := clusterpb.NewClusterClient(n.api.Conn()).Members(ctx, &clusterpb.MembersRequest{})
		voters := 0
		for _, m := range reply.GetMembers() {
			if m.GetSuffrage() == "voter" {
				voters++
			}
		}
		return err == nil && voters == nodeCount
	})
}

func (n *nodes) dial(addrs ...string) *client.Client {
	n.t.Helper()
	c, err := client.New(client.Config{Addrs: addrs, CA: n.CA, Token: n.Token})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

// gossipAddrs are where the nodes listen for gossip.
func (n *nodes) gossipAddrs() []string {
	n.t.Helper()
	reply, err := clusterpb.NewClusterClient(n.api.Conn()).Members(n.t.Context(), &clusterpb.MembersRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	var addrs []string
	for _, m := range reply.GetMembers() {
		addrs = append(addrs, m.GetNode().GetGossipAddr())
	}
	return addrs
}

// usage asks the nodes what they hold.
func (n *nodes) usage() usage {
	n.mu.Lock()
	defer n.mu.Unlock()
	var u usage
	if _, err := io.WriteString(n.ask, "usage\n"); err != nil {
		n.t.Errorf("ask the nodes: %v", err)
	} else if err := n.out.Decode(&u); err != nil {
		n.t.Errorf("the nodes do not answer: %v", err)
	}
	return u
}

// settled is what the nodes hold when it no longer falls.
func (n *nodes) settled() usage {
	last := n.usage()
	for same := 0; same < 3; {
		u := n.usage()
		if same++; u.Goroutines < last.Goroutines-2 || u.Files < last.Files {
			same = 0
		}
		last = u
	}
	return last
}

// calm fails the test if the nodes go on holding more than they did before.
func (n *nodes) calm(t *testing.T, before usage) {
	t.Helper()
	var now usage
	deadline := time.Now().Add(calmWithin)
	for {
		now = n.usage()
		if now.Goroutines <= before.Goroutines+moreGoroutines && now.Files <= before.Files+moreFiles && now.Memory <= before.Memory+moreMemory {
			t.Logf("afterwards %d goroutines (%d), %d files (%d), %d MiB (%d)",
				now.Goroutines, before.Goroutines, now.Files, before.Files, now.Memory>>20, before.Memory>>20)
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("after %s the nodes hold %+v, before it was %+v", calmWithin, now, before)
			return
		}
		pause(t.Context(), 100*time.Millisecond)
	}
}
