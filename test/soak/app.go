package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

const (
	appCommand  = "app"
	configName  = "SOAK_ROUND" // the variable that changes
	seedName    = "SOAK_SEED"
	crashCode   = 3
	burstLines  = 20_000
	burstBegins = "a burst begins"
	chattyPause = 10 * time.Millisecond // between lines
	quietPause  = 5 * time.Second
)

// app is an application of one kind: "chatty" and "quiet" write numbered lines
// for ever, "crashy" ends with a code of its own after some seconds. Its first
// line says with which configuration it runs, its last one that it ends. A chatty
// one also writes bursts.
func app(kind string) int {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	fmt.Printf("start %s=%s\n", configName, os.Getenv(configName))
	defer fmt.Println("end")

	seed, _ := strconv.ParseUint(os.Getenv(seedName), 10, 64)
	random := rand.New(rand.NewPCG(seed, uint64(len(kind))))
	var burst, crash <-chan time.Time
	pause := chattyPause
	switch kind {
	case "quiet":
		pause = quietPause
	case "chatty":
		burst = time.After(between(random, 3*time.Second, 15*time.Second))
	case "crashy":
		crash = time.After(between(random, 5*time.Second, 20*time.Second))
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-end:
			return 0
		case <-crash:
			return crashCode
		case <-burst:
			writeBurst(n)
			burst = time.After(between(random, 5*time.Second, 15*time.Second))
		case <-tick.C:
			fmt.Printf("line %d of a %s application that goes on and on and on\n", n, kind)
		}
	}
}

func between(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)))
}

// writeBurst writes lines as fast as a buffered writer can, and a very long one.
func writeBurst(n int) {
	fmt.Println(burstBegins)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for i := range burstLines {
		fmt.Fprintf(out, "burst %d line %d: what an application says when it is upset\n", n, i)
	}
	fmt.Fprintf(out, "long %0100000d\n", n)
}
