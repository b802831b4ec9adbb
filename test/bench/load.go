package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"waypoint/api/configpb"
	"waypoint/client"
	"waypoint/test/harness"
)

const (
	// loadCommand makes this binary a generator of load, which does to our
	// cluster what scripts/tools/etcdload does to the peer's.
	loadCommand   = "load"
	tokenVariable = "BENCH_TOKEN"
	benchProject  = "bench"
	valueSize     = 256 // bytes per write
)

// loader is a generator's clients, each with a connection of its own.
type loader []*client.Client

// generate puts load on a cluster. Each client has a connection and a variable
// of its own, has written once before the clock starts, and waits for each
// answer before it goes on.
func generate(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet(loadCommand, flag.ExitOnError)
	addrs := flags.String("addrs", "", "comma-separated `addresses` of all nodes")
	ca := flags.String("ca", "", "the authority's fingerprint")
	profile := flags.String("profile", "", "`file` for a profile of the CPU")
	var l load
	flags.IntVar(&l.clients, "clients", 1, "`number` of clients")
	flags.StringVar(&l.op, "op", "put", "put, get or probe")
	flags.DurationVar(&l.last, "for", 3*time.Second, "how long to put load")
	_ = flags.Parse(args) // which exits itself
	c := harness.New("", "")
	c.CA, c.Token = *ca, os.Getenv(tokenVariable)
	for addr := range strings.SplitSeq(*addrs, ",") {
		c.Nodes = append(c.Nodes, &harness.Node{Addr: addr})
	}
	l.profile = *profile
	if err := l.run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		return 1
	}
	return 0
}

func (l load) run(ctx context.Context, c *harness.Cluster) error {
	clients, err := l.dial(ctx, c)
	defer func() {
		for _, conn := range clients {
			_ = conn.Close() // there is nothing left to lose
		}
	}()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]bool{"begin": true}); err != nil {
		return err
	}
	if l.profile != "" {
		f, err := os.Create(l.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	switch l.op {
	case "put":
		return clients.measure(l.last, func(i int) error { return put(ctx, clients[i], i) })
	case "get":
		return clients.measure(l.last, func(i int) error { return get(ctx, clients[i], i) })
	case "probe":
		return clients.probe(ctx)
	}
	return fmt.Errorf("unknown operation %q", l.op)
}

// dial connects every client, spread over the nodes, and lets it write once.
func (l load) dial(ctx context.Context, c *harness.Cluster) (loader, error) {
	var clients loader
	for i := range l.clients {
		conn, err := c.Dial(i)
		if err != nil {
			return clients, err
		}
		clients = append(clients, conn)
	}
	var group sync.WaitGroup
	failed := make([]error, len(clients))
	for i, conn := range clients {
		group.Go(func() { failed[i] = put(ctx, conn, i) })
	}
	group.Wait()
	return clients, errors.Join(failed...)
}

func variable(i int) string { return fmt.Sprintf("CLIENT_%d", i) }

func put(ctx context.Context, conn *client.Client, i int) error {
	_, err := configpb.NewConfigClient(conn.Conn()).Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{{
		Scope: &configpb.Scope{Project: benchProject},
		Name:  variable(i),
		Value: strings.Repeat(string(rune('a'+time.Now().UnixNano()%26)), valueSize),
	}}})
	return err
}

func get(ctx context.Context, conn *client.Client, i int) error {
	reply, err := configpb.NewConfigClient(conn.Conn()).Get(ctx, &configpb.GetRequest{
		Scope: &configpb.Scope{Project: benchProject}, Name: variable(i), Exact: true,
	})
	if err == nil && (len(reply.GetVariables()) != 1 || len(reply.GetVariables()[0].GetValue()) != valueSize) {
		err = fmt.Errorf("%s was not read", variable(i))
	}
	return err
}

// measure lets every client call again and again, and prints the figures. A
// failed call spoils the round.
func (clients loader) measure(last time.Duration, call func(i int) error) error {
	taken := make([][]time.Duration, len(clients))
	failed := make([]error, len(clients))
	var group sync.WaitGroup
	before, start := cpu(), time.Now()
	for i := range clients {
		group.Go(func() {
			for began := start; failed[i] == nil && began.Sub(start) < last; {
				failed[i] = call(i)
				now := time.Now()
				taken[i] = append(taken[i], now.Sub(began))
				began = now
			}
		})
	}
	group.Wait()
	f := figures{Seconds: time.Since(start).Seconds(), CPU: (cpu() - before).Seconds()}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	all := slices.Sorted(slices.Values(slices.Concat(taken...)))
	f.Count = len(all)
	f.Median, f.P99 = milliseconds(all[len(all)/2]), milliseconds(all[len(all)*99/100])
	return json.NewEncoder(os.Stdout).Encode(f)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// cpu is the time that this process has used, user and system.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// answer is one write of a probe.
type answer struct {
	Client int    `json:"client"`
	At     int64  `json:"at"`              // when it was answered, nanoseconds since 1970
	Error  string `json:"error,omitempty"` // why it failed
}

// probe lets every client write until ctx ends, again at once when a write
// failed, and prints every answer.
func (clients loader) probe(ctx context.Context) error {
	var group sync.WaitGroup
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	failed := make([]error, len(clients))
	for i, conn := range clients {
		group.Go(func() {
			for failed[i] == nil {
				err := put(ctx, conn, i)
				if ctx.Err() != nil {
					return
				}
				a := answer{Client: i, At: time.Now().UnixNano()}
				if err != nil {
					a.Error = err.Error()
				}
				mu.Lock()
				failed[i] = out.Encode(a)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return errors.Join(failed...)
}
