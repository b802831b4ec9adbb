package hostile

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"waypoint/api/deploymentpb"
	"waypoint/api/entrypointpb"
	"waypoint/api/logspb"
	"waypoint/api/projectpb"
	"waypoint/client"
	"waypoint/session/sessiontest"
)

// app is an application without instances.
type app struct {
	ref   *deploymentpb.AppRef
	token string // of its deployment's entrypoints
}

func (n *nodes) deploy() *app {
	n.t.Helper()
	check := func(err error) {
		n.t.Helper()
		if err != nil {
			n.t.Fatal(err)
		}
	}
	ctx := n.t.Context()
	_, err := projectpb.NewProjectServiceClient(n.api.Conn()).ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: "shop", Apps: []string{"web"}})
	check(err)
	api := deploymentpb.NewDeploymentServiceClient(n.api.Conn())
	ref := &deploymentpb.AppRef{Project: "shop", App: "web", Workspace: "default"}
	build, err := api.CreateBuild(ctx, &deploymentpb.CreateBuildRequest{App: ref, Plugin: "noop"})
	check(err)
	built, err := api.FinishBuild(ctx, &deploymentpb.FinishBuildRequest{Id: build.GetBuild().GetId(), Artifact: &deploymentpb.Artifact{Plugin: "noop"}})
	check(err)
	made, err := api.CreateDeployment(ctx, &deploymentpb.CreateDeploymentRequest{App: ref,
		ArtifactId: built.GetArtifact().GetId(), Plugin: "noop", Instances: 1, Entrypoint: true})
	check(err)
	return &app{ref: ref, token: made.GetEntrypointToken()}
}

// say has the instance write lines of so many bytes in all.
func say(instance *sessiontest.Entrypoint, bytes int) {
	const size = 16 << 10
	for seq := uint64(1); bytes > 0; bytes -= 4 * size {
		batch := &entrypointpb.LogBatch{}
		for range 4 {
			batch.Lines = append(batch.Lines, &logspb.Line{Seq: seq, Time: time.Now().UnixNano(), Data: make([]byte, size)})
			seq++
		}
		instance.Send(&entrypointpb.Up{Kind: &entrypointpb.Up_Logs{Logs: batch}})
	}
}

// slowReaders follow an application's log and never read: some let the streams
// wait, some the connections.
func (a *app) slowReaders(t *testing.T, n *nodes) {
	entrypoint, err := client.New(client.Config{Addrs: n.Addrs[:1], CA: n.CA, Token: a.token})
	if err != nil {
		t.Fatal(err)
	}
	defer entrypoint.Close()
	instance := sessiontest.Attach(t, entrypoint.Conn(), &entrypointpb.Hello{})
	instance.Welcome()
	ctx := metadata.AppendToOutgoingContext(t.Context(), n.bearer()...)
	for i := range 2 * nodeCount {
		api := logspb.NewLogsClient(n.plain(t, n.Addrs[i%nodeCount]))
		for range 5 {
			if _, err := api.Stream(ctx, &logspb.StreamRequest{App: a.ref, Follow: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// project, app and workspace of an AppRef in field 1, and follow.
	ref := append([]byte{0x0a, 4}, "shop\x12\x03web\x1a\x07default"...)
	request := append(append([]byte{0x0a, byte(len(ref))}, ref...), 0x20, 1)
	for i := range 6 * nodeCount {
		r := n.knownHTTP2(t, n.Addrs[i%nodeCount])
		r.send(frame(frameSettings, 0, 0, []byte{0, 4, 0x7f, 0xff, 0xff, 0xff}))
		r.send(frame(8, 0, 0, []byte{0x7f, 0, 0, 0}))
		r.send(append(frame(frameHeaders, endHeaders, 3, call(methodLogs, n.bearer()...)),
			frame(frameData, endStream, 3, message(uint32(len(request)), request))...))
		defer r.Close()
	}
	say(instance, 12<<20)
}

// endless are connections that the nodes have to end by themselves, and when
// they began.
type endless struct {
	begun   time.Time
	conns   map[string]*raw
	sending sync.WaitGroup
}

// endlessLimit is the longest that the nodes may keep one of them.
const endlessLimit = 40 * time.Second

func (n *nodes) beginEndless() *endless {
	e := &endless{begun: time.Now(), conns: map[string]*raw{}}
	for _, addr := range n.Addrs {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() { conn.Close() })
		hello := &raw{conn, n.t}
		e.conns["TLS a byte a second, "+addr] = hello
		e.trickle(hello, append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, make([]byte, 500)...))

		e.conns["nothing after TLS, "+addr] = dialTLS(n.t, addr)

		// It has called and hears pings, but is gone.
		gone := n.knownHTTP2(n.t, addr)
		gone.send(append(frame(frameHeaders, endHeaders, 3, call(methodHealth, n.bearer()...)), frame(frameData, endStream, 3, message(0, nil))...))
		e.conns["no answer to pings, "+addr] = gone

		headers := n.knownHTTP2(n.t, addr)
		e.conns["headers a byte a second, "+addr] = headers
		e.trickle(headers, frame(frameHeaders, endHeaders, 3, call(methodConfig, n.bearer()...)))

		body := n.knownHTTP2(n.t, addr)
		body.send(frame(frameHeaders, endHeaders, 3, call(methodConfig, n.bearer()...)))
		var bodies bytes.Buffer
		for _, b := range message(1<<20, make([]byte, 100)) {
			bodies.Write(frame(frameData, 0, 3, []byte{b}))
		}
		e.conns["a body a byte a second, "+addr] = body
		e.trickle(body, bodies.Bytes())
	}
	return e
}

// trickle sends a byte a second until it is shown out.
func (e *endless) trickle(r *raw, data []byte) {
	e.sending.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for _, b := range data {
			select {
			case <-tick.C:
			case <-r.t.Context().Done():
				return
			}
			if _, err := r.Write([]byte{b}); err != nil {
				return
			}
		}
	})
}

func (e *endless) check(t *testing.T) {
	for name, r := range e.conns {
		if !r.ended(max(time.Until(e.begun.Add(endlessLimit)), time.Millisecond)) {
			t.Errorf("%s: it is still open after %s", name, time.Since(e.begun).Round(time.Second))
		}
		r.Close()
	}
	e.sending.Wait()
	t.Logf("all were ended after %s", time.Since(e.begun).Round(time.Second))
}
