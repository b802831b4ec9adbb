package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// figures are what a round of load gives.
type figures struct {
	Count   int     `json:"count"`   // calls that were answered
	Seconds float64 `json:"seconds"` // that they took together
	CPU     float64 `json:"cpu"`     // seconds of this process, user and system
	Median  float64 `json:"median"`  // of the calls' times, in milliseconds
	P99     float64 `json:"p99"`
}

// measure lets every client call again and again, and prints the figures. A
// failed call spoils the round.
func measure(last time.Duration, clients int, call func(i int) error) error {
	taken := make([][]time.Duration, clients)
	failed := make([]error, clients)
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
func probe(ctx context.Context, clients []*clientv3.Client, patience time.Duration) error {
	var group sync.WaitGroup
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	failed := make([]error, len(clients))
	for i, c := range clients {
		group.Go(func() {
			for failed[i] == nil {
				attempt, cancel := context.WithTimeout(ctx, patience)
				err := put(attempt, c, i)
				cancel()
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
