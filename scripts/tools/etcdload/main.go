// Command etcdload puts load on an etcd cluster with etcd's own client, the way
// "bench" puts it on ours: the figures of both are compared. It must know
// nothing of Waypoint.
//
// Usage:
//
//	etcdload -endpoints=HOST:PORT,... -clients=N -op=put|get -for=DURATION
//	etcdload -endpoints=HOST:PORT,... -clients=N -op=probe -patience=DURATION
//
// Each client has a connection and a key of its own, has written once before
// the clock starts, and waits for each answer before it goes on. "get" is
// linearizable. When all clients are ready it prints {"begin":true}; with "put"
// and "get" the figures follow as one JSON object. "probe" writes until it gets
// SIGTERM and prints one JSON object for every write, as it is answered.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const valueSize = 256 // bytes

// order is what to do.
type order struct {
	endpoints []string
	clients   int
	op        string
	last      time.Duration // how long "put" and "get" go on
	patience  time.Duration // after which "probe" gives up one write
}

func main() {
	var o order
	endpoints := flag.String("endpoints", "127.0.0.1:2379", "comma-separated `addresses` of all members")
	flag.IntVar(&o.clients, "clients", 1, "`number` of clients")
	flag.StringVar(&o.op, "op", "put", "put, get or probe")
	flag.DurationVar(&o.last, "for", 3*time.Second, "how long to put load")
	flag.DurationVar(&o.patience, "patience", time.Second, "how long a probe waits for one write")
	flag.Parse()
	o.endpoints = strings.Split(*endpoints, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "etcdload:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o order) error {
	clients, err := dial(ctx, o)
	defer func() {
		for _, c := range clients {
			_ = c.Close() // there is nothing left to lose
		}
	}()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]bool{"begin": true}); err != nil {
		return err
	}
	switch o.op {
	case "put":
		return measure(o.last, len(clients), func(i int) error { return put(ctx, clients[i], i) })
	case "get":
		return measure(o.last, len(clients), func(i int) error { return get(ctx, clients[i], i) })
	case "probe":
		return probe(ctx, clients, o.patience)
	}
	return fmt.Errorf("unknown operation %q", o.op)
}

// dial connects every client and lets it write once. Under load a client talks
// to one member; a probe's knows all of them.
func dial(ctx context.Context, o order) ([]*clientv3.Client, error) {
	clients := make([]*clientv3.Client, 0, o.clients)
	for i := range o.clients {
		endpoints := o.endpoints
		if o.op != "probe" {
			endpoints = []string{o.endpoints[i%len(o.endpoints)]}
		}
		c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
	}
	var group sync.WaitGroup
	failed := make([]error, len(clients))
	for i, c := range clients {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			failed[i] = put(ctx, c, i)
		})
	}
	group.Wait()
	return clients, errors.Join(failed...)
}

func key(i int) string { return fmt.Sprintf("bench/client-%d", i) }

func put(ctx context.Context, c *clientv3.Client, i int) error {
	value := strings.Repeat(string(rune('a'+time.Now().UnixNano()%26)), valueSize)
	_, err := c.Put(ctx, key(i), value)
	return err
}

func get(ctx context.Context, c *clientv3.Client, i int) error {
	reply, err := c.Get(ctx, key(i))
	if err == nil && (len(reply.Kvs) != 1 || len(reply.Kvs[0].Value) != valueSize) {
		err = fmt.Errorf("%s was not read", key(i))
	}
	return err
}
