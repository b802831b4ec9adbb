package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// appCommand makes this binary the application of a benchmark.
const appCommand = "app"

// paceStep is how often an application that keeps a pace writes.
const paceStep = 2 * time.Millisecond

// app is an application that sleeps until it is asked to end. Each SIGUSR1
// makes it write what the file says that its argument names: how many lines,
// and how many of them a second, 0 for as fast as it can.
func app(args []string) int {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	begin := make(chan os.Signal, 1)
	signal.Notify(begin, syscall.SIGUSR1)
	fmt.Println("ready")
	for next := 1; ; {
		select {
		case <-end:
			return 0
		case <-begin:
			var count, pace int
			text, err := os.ReadFile(args[0])
			if err == nil {
				_, err = fmt.Sscan(string(text), &count, &pace)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			writeLines(next, count, pace)
			next += count
		}
	}
}

// writeLines logs numbered lines of about 85 bytes with the standard library's
// logger, each with a write of its own.
func writeLines(first, count, pace int) {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	step := max(1, pace*int(paceStep)/int(time.Second))
	start := time.Now()
	for n := range count {
		if pace > 0 && n%step == 0 {
			if d := time.Until(start.Add(time.Duration(n) * time.Second / time.Duration(pace))); d > 0 {
				<-time.After(d)
			}
		}
		log.Info("request served", slog.Int("status", 200), slog.Int("n", first+n))
	}
}
