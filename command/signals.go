package command

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// notify delivers signals until stop is called.
func notify(sigs ...os.Signal) (<-chan os.Signal, func()) {
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, sigs...)
	return ch, func() { signal.Stop(ch) }
}

// interruptible gives a context that ends with errInterrupted at the first
// SIGINT or SIGTERM. The second one ends the process at once. The stop
// function gives the signals back and must be called.
func (e *Env) interruptible(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals, stopSignals := e.Signals(os.Interrupt, syscall.SIGTERM)
	stopped := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for count := 0; ; count++ {
			select {
			case <-signals:
				if count > 0 {
					e.Exit(codeFailed)
				}
				cancel(errInterrupted)
			case <-stopped:
				return
			}
		}
	}()
	return ctx, func() {
		stopSignals()
		close(stopped)
		<-done
		cancel(nil)
	}
}
