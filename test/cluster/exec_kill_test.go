package cluster

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"waypoint/api/clusterpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/api/projectpb"
	"waypoint/client"
	"waypoint/test/harness"
)

// processes is a cluster of real processes, which can be killed.
type processes struct {
	*harness.Cluster
	t *testing.T
}

func startProcesses(t *testing.T) *processes {
	t.Helper()
	bin := t.TempDir()
	buildBinary(t, bin, "waypoint")
	p := &processes{Cluster: harness.New(bin, t.TempDir()), t: t}
	p.AnyPort, p.Profile = true, "wan"
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Errorf("stop the cluster: %v", err)
		}
	})
	p.check(p.Start(t.Context(), 3))
	return p
}

func (p *processes) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// dial returns a client that goes to one node first.
func (p *processes) dial(first int) *client.Client {
	p.t.Helper()
	c, err := p.Dial(first)
	p.check(err)
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

// names returns the names of nodes by their ids.
func (p *processes) names() map[string]string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	reply, err := clusterpb.NewClusterClient(p.dial(0).Conn()).Members(ctx, &clusterpb.MembersRequest{})
	p.check(err)
	names := map[string]string{}
	for _, m := range reply.GetMembers() {
		names[m.GetNode().GetId()] = m.GetNode().GetName()
	}
	return names
}

// attach runs an instance of a new deployment.
func (p *processes) attach() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	c := p.dial(0)
	_, err := projectpb.NewProjectServiceClient(c.Conn()).ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: "shop", Apps: []string{"web"}})
	p.check(err)
	api, ref := deploymentpb.NewDeploymentServiceClient(c.Conn()), &deploymentpb.AppRef{Project: "shop", App: "web", Workspace: "default"}
	build, err := api.CreateBuild(ctx, &deploymentpb.CreateBuildRequest{App: ref, Plugin: "noop"})
	p.check(err)
	built, err := api.FinishBuild(ctx, &deploymentpb.FinishBuildRequest{Id: build.GetBuild().GetId(),
		Artifact: &deploymentpb.Artifact{Plugin: "noop", Description: "nothing"}})
	p.check(err)
	made, err := api.CreateDeployment(ctx, &deploymentpb.CreateDeploymentRequest{App: ref,
		ArtifactId: built.GetArtifact().GetId(), Plugin: "noop", Instances: 1, Entrypoint: true})
	p.check(err)
	binary := buildBinary(p.t, filepath.Clean(p.t.TempDir()), "waypoint-entrypoint")
	var addrs []string
	for _, n := range p.Nodes {
		addrs = append(addrs, n.Addr)
	}
	runEntrypoint(p.t, binary, addrs, p.CA, made.GetEntrypointToken())
}

// home returns the instance and the number of the running node that is its home.
func (p *processes) home() (instance string, home int) {
	p.t.Helper()
	c, names := p.dial(0), p.names()
	instance, _ = homeOf(p.t, c, func(id string) bool {
		home = slices.IndexFunc(p.Nodes, func(n *harness.Node) bool { return n.Running() && n.Name == names[id] })
		return home >= 0
	})
	return instance, home
}

func TestExecSessionsWhenNodesAreKilled(t *testing.T) {
	t.Parallel()
	p := startProcesses(t)
	p.attach()
	t.Run("they go on", func(t *testing.T) { goOn(t, p) })
	t.Run("their records end", func(t *testing.T) { haveAnEnd(t, p) })
}

func goOn(t *testing.T, p *processes) {
	restart := func(i int) { p.check(p.Nodes[i].Start(t.Context())) }

	instance, home := p.home()
	v := converse(t, p.dial((home+1)%3), instance)
	recorded(t, p.dial((home+1)%3), v.id, "the session to be recorded", func(s *execpb.Session) bool { return true })
	v.during(p.Nodes[home].Kill)
	_, next := p.home()
	if next == home {
		t.Fatalf("the instance is still at node %d", home)
	}
	restart(home)
	front := 3 - home - next
	other := converse(t, p.dial(front), instance)
	v.exchange(10)
	v.during(p.Nodes[front].Kill)
	other.exchange(10)
	restart(front)
	v.end()
	other.end()
	for _, id := range []string{v.id, other.id} {
		recorded(t, p.dial(next), id, "the end to be recorded", func(s *execpb.Session) bool { return s.GetExit() != nil && s.GetError() == "" })
	}
}

func haveAnEnd(t *testing.T, p *processes) {
	instance, home := p.home()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	c := p.dial((home + 1) % 3)
	stream, err := execpb.NewExecClient(c.Conn()).Start(ctx)
	p.check(err)
	p.check(stream.Send(&execpb.Input{Kind: &execpb.Input_Open{Open: &execpb.Open{InstanceId: instance, Argv: []string{"sleep", "600"}, Resumable: true}}}))
	out, err := stream.Recv()
	p.check(err)
	id := out.GetOpened().GetSessionId()
	recorded(t, c, id, "the session to be recorded", func(s *execpb.Session) bool { return s.GetEndedAt() == nil })
	p.Nodes[home].Kill()
	leave()
	recorded(t, c, id, "an end of the session", func(s *execpb.Session) bool { return s.GetEndedAt() != nil && s.GetExit() == nil && s.GetError() != "" })
}
