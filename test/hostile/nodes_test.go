package hostile

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/agent"
	"waypoint/api/clusterpb"
	"waypoint/client"
)

// nodesDir is the variable that makes this program the nodes, in that folder.
const nodesDir = "WAYPOINT_HOSTILE_NODES"

// nodeCount is the number of nodes.
const nodeCount = 3

func TestMain(m *testing.M) {
	if err := raiseLimit(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if dir := os.Getenv(nodesDir); dir != "" {
		if err := runNodes(dir); err != nil {
			fmt.Fprintln(os.Stderr, "nodes:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// raiseLimit lets this process open as many files as it may.
func raiseLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	return nil
}

// greeting is the first line that the nodes write.
type greeting struct {
	Addrs     []string
	ClusterID string
	CA        string
	Token     string
}

// usage is what the nodes hold; a line each time they are asked.
type usage struct {
	Goroutines int
	Memory     uint64 // bytes of heap in use, after a collection, and of stacks
	Files      int
}

// runNodes runs the nodes until its standard input ends.
func runNodes(dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var hello greeting
	ended := make(chan error, nodeCount)
	for i := range nodeCount {
		cfg := agent.Config{
			DataDir: filepath.Join(dir, fmt.Sprint("n", i)), Name: fmt.Sprint("n", i),
			Addr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0", Profile: "wan", Bootstrap: i == 0,
		}
		if i > 0 {
			text, err := joinToken(ctx, hello)
			if err != nil {
				return err
			}
			cfg.JoinToken = text
		}
		a, err := agent.New(ctx, cfg, hclog.New(&hclog.LoggerOptions{Name: cfg.Name, Level: hclog.Error, Output: os.Stderr}))
		if err != nil {
			return err
		}
		go func() { ended <- a.Run(ctx) }()
		select {
		case <-a.Ready():
		case err := <-ended:
			return err
		}
		if i == 0 {
			hello.ClusterID, hello.CA, hello.Token = a.Info().ClusterID, a.Info().CAFingerprint, a.Info().UserToken
		}
		hello.Addrs = append(hello.Addrs, a.Info().Addr)
	}
	if err := serveUsage(hello); err != nil {
		return err
	}
	cancel()
	var failures error
	for range nodeCount {
		failures = errors.Join(failures, <-ended)
	}
	return failures
}

func serveUsage(hello greeting) error {
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(hello); err != nil {
		return err
	}
	for in := bufio.NewReader(os.Stdin); ; {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if line == "goroutines\n" {
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		}
		debug.FreeOSMemory()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		u := usage{Goroutines: runtime.NumGoroutine(), Memory: stats.HeapAlloc + stats.StackInuse, Files: len(files)}
		if err := out.Encode(u); err != nil {
			return err
		}
	}
}

func joinToken(ctx context.Context, hello greeting) (string, error) {
	c, err := client.New(client.Config{Addrs: hello.Addrs[:1], CA: hello.CA, Token: hello.Token})
	if err != nil {
		return "", err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	reply, err := clusterpb.NewClusterClient(c.Conn()).CreateJoinToken(ctx, &clusterpb.CreateJoinTokenRequest{})
	return reply.GetText(), err
}
