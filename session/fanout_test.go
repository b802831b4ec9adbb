package session_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"waypoint/api/entrypointpb"
	"waypoint/internal/ids"
	"waypoint/rpc/rpctest"
	"waypoint/session"
	"waypoint/session/sessiontest"
)

// bareStream is an attach stream without a network. It notes configurations only.
type bareStream struct {
	ctx     context.Context
	hello   chan *entrypointpb.Up
	configs chan<- *entrypointpb.Down
}

func (s *bareStream) Send(down *entrypointpb.Down) error {
	if down.GetWelcome() == nil {
		s.configs <- down
	}
	return nil
}

func (s *bareStream) Recv() (*entrypointpb.Up, error) {
	select {
	case up := <-s.hello:
		return up, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

// crowd attaches many instances of one deployment and returns where their
// configurations arrive. The first ones have been taken.
func crowd(t testing.TB, f *rpctest.Fixture, size int) <-chan *entrypointpb.Down {
	deployment, _ := sessiontest.Deploy(f)
	in := session.NewInstances(session.InstancesConfig{
		NodeID: f.NodeID, BootID: f.BootID, Store: f.Store, Applier: f, Open: f.Keyring.Open,
		Servers: f.Servers, OtherServers: f.Servers, Logger: f.Logger,
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	running.Go(func() { _ = in.Run(ctx) })
	configs := make(chan *entrypointpb.Down, size)
	for range size {
		s := &bareStream{hello: make(chan *entrypointpb.Up, 1), configs: configs}
		s.hello <- &entrypointpb.Up{Kind: &entrypointpb.Up_Hello{Hello: &entrypointpb.Hello{InstanceId: ids.New(), Generation: 1}}}
		running.Go(func() {
			var end context.CancelCauseFunc
			s.ctx, end = context.WithCancelCause(ctx)
			defer end(nil)
			_ = in.Attach(s.ctx, end, s, deployment)
		})
	}
	for range size {
		<-configs
	}
	return configs
}

func TestConfigIsEncodedOnceForAllInstances(t *testing.T) {
	f := rpctest.New(t)
	configs := crowd(t, f, 500)
	sessiontest.SetConfig(t, f, "COLOR", "red")
	first := <-configs
	for range 499 {
		if down := <-configs; down != first {
			t.Fatal("instances got different messages")
		}
	}
}

func BenchmarkConfigFanOut(b *testing.B) {
	for _, size := range []int{2000, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := rpctest.New(b)
			configs := crowd(b, f, size)
			i := 0
			for b.Loop() {
				i++
				sessiontest.SetConfig(b, f, "COLOR", fmt.Sprint(i))
				for range size {
					<-configs
				}
			}
		})
	}
}
