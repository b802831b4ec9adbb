// Command child is an application that runs under the entrypoint in tests.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	started := time.Now()
	switch os.Args[1] {
	case "say":
		code, _ := strconv.Atoi(os.Args[2])
		say(started, code)
	case "signals":
		signals()
	case "flood":
		flood()
	}
}

// say prints when it was started and with which greeting, then a fixed text on
// both streams, and ends with code when it is asked to.
func say(started time.Time, code int) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	fmt.Printf("started %d %d %q\n", started.UnixNano(), os.Getpid(), os.Getenv("GREETING"))
	for i := range 100 {
		fmt.Printf("out %d\n", i)
		fmt.Fprintf(os.Stderr, "err %d\n", i)
	}
	fmt.Println("ready")
	<-asked
	fmt.Println("ended")
	os.Exit(code)
}

// signals prints each signal that comes, and ends only when it is killed.
func signals() {
	caught := make(chan os.Signal, 256)
	for n := 1; n <= 64; n++ {
		switch sig := syscall.Signal(n); sig {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGURG:
		default:
			signal.Notify(caught, sig)
		}
	}
	fmt.Printf("ready %d\n", os.Getpid())
	for sig := range caught {
		fmt.Printf("signal %d\n", sig.(syscall.Signal))
	}
}

// flood writes lines of 1 KiB to standard output and tells on standard error
// how many have been taken.
func flood() {
	fmt.Fprintf(os.Stderr, "pid %d\n", os.Getpid())
	for i := 1; i <= 4096; i++ {
		line := fmt.Sprintf("line %d ", i)
		fmt.Println(line + strings.Repeat("x", 1023-len(line)))
		fmt.Fprintf(os.Stderr, "taken %d\n", i)
	}
}
