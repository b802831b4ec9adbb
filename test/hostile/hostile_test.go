package hostile

import (
	"testing"
)

const (
	methodVersion = "/waypoint.version.Version/Get"
	methodHealth  = "/grpc.health.v1.Health/Watch"
	methodConfig  = "/waypoint.config.Config/Set"
	methodJoin    = "/waypoint.cluster.Cluster/Join"
	methodLogs    = "/waypoint.logs.Logs/Stream"
	methodAttach  = "/waypoint.entrypoint.Entrypoint/Attach"
)

// Each kind of hostile client in turn, against one cluster that honest clients
// use all the time.
func TestHostileClients(t *testing.T) {
	n := startNodes(t)
	app := n.deploy()
	good := n.watch()
	defer func() {
		good.stop()
		good.all.Wait()
	}()
	before := n.settled()
	t.Logf("the nodes hold %d goroutines, %d files, %d MiB", before.Goroutines, before.Files, before.Memory>>20)

	// These take longest: they are looked at when all others are over.
	endless := n.beginEndless()
	for _, a := range []struct {
		name string
		run  func(*testing.T, *nodes)
	}{
		{"strangers that never speak", silent},
		{"strangers that speak another language", otherLanguages},
		{"garbage on the gossip port", gossipGarbage},
		{"oversized messages", oversized},
		{"malformed calls", malformed},
		{"requests that are played again", replayed},
		{"streams that are opened and reset", rapidReset},
		{"calls that are opened and never sent", openedOnly},
		{"floods of control frames", controlFloods},
		{"endless headers", endlessHeaders},
		{"readers that do not read", app.slowReaders},
	} {
		t.Run(a.name, func(t *testing.T) {
			a.run(t, n)
			good.judge(t)
		})
	}
	t.Run("connections that go on for ever", func(t *testing.T) {
		endless.check(t)
		good.judge(t)
	})
	n.calm(t, before)
}
