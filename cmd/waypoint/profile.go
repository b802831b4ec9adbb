//go:build pprof

package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// profiled runs main under the control of whoever profiles it: SIGUSR1 begins a
// profile of the CPU, SIGUSR2 ends it and leaves it as cpu-PID.pprof in the
// working folder. Only builds with the tag "pprof" do so.
func profiled(main func() int) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		var f *os.File
		for s := range signals {
			var err error
			switch name := fmt.Sprintf("cpu-%d.pprof", os.Getpid()); {
			case s == syscall.SIGUSR1 && f == nil:
				if f, err = os.Create(name + ".part"); err == nil {
					err = pprof.StartCPUProfile(f)
				}
			case s == syscall.SIGUSR2 && f != nil:
				pprof.StopCPUProfile()
				err = f.Close()
				f = nil
				if err == nil {
					err = os.Rename(name+".part", name)
				}
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "profile:", err)
			}
		}
	}()
	return main()
}
