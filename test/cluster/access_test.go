package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"waypoint/api/authpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/projectpb"
	"waypoint/cluster"
	"waypoint/errs"
	"waypoint/protocol"
)

// admitted is the whole table of access: who may call which method. A method
// that is not in it fails the test.
var admitted = map[string]string{
	"waypoint.version.Version/Get": "anonymous user runner entrypoint node",

	"waypoint.auth.Auth/CreateToken": "user node",
	"waypoint.auth.Auth/ListTokens":  "user",
	"waypoint.auth.Auth/RevokeToken": "user",
	"waypoint.auth.Auth/WhoAmI":      "user runner",

	"waypoint.project.ProjectService/ApplyProject":   "user runner",
	"waypoint.project.ProjectService/GetProject":     "user runner",
	"waypoint.project.ProjectService/ListProjects":   "user runner",
	"waypoint.project.ProjectService/DestroyProject": "user",
	"waypoint.project.ProjectService/ListWorkspaces": "user runner",

	"waypoint.config.Config/Set":       "user runner",
	"waypoint.config.Config/Get":       "user runner",
	"waypoint.config.Config/SetPolicy": "user runner",
	"waypoint.config.Config/GetPolicy": "user runner",

	"waypoint.deployment.DeploymentService/CreateBuild":       "user runner",
	"waypoint.deployment.DeploymentService/FinishBuild":       "user runner",
	"waypoint.deployment.DeploymentService/ListBuilds":        "user runner",
	"waypoint.deployment.DeploymentService/GetArtifact":       "user runner",
	"waypoint.deployment.DeploymentService/CreateDeployment":  "user runner",
	"waypoint.deployment.DeploymentService/FinishDeployment":  "user runner",
	"waypoint.deployment.DeploymentService/DestroyDeployment": "user runner",
	"waypoint.deployment.DeploymentService/GetDeployment":     "user runner",
	"waypoint.deployment.DeploymentService/ListDeployments":   "user runner",
	"waypoint.deployment.DeploymentService/CreateRelease":     "user runner",
	"waypoint.deployment.DeploymentService/FinishRelease":     "user runner",
	"waypoint.deployment.DeploymentService/ListReleases":      "user runner",
	"waypoint.deployment.DeploymentService/ListInstances":     "user runner",
	"waypoint.deployment.DeploymentService/Status":            "user runner",

	"waypoint.job.JobService/Submit": "user runner",
	"waypoint.job.JobService/Get":    "user runner",
	"waypoint.job.JobService/List":   "user runner",
	"waypoint.job.JobService/Watch":  "user",
	"waypoint.job.JobService/Cancel": "user",

	"waypoint.runner.RunnerService/List":    "user runner",
	"waypoint.runner.RunnerService/Session": "user runner",

	"waypoint.logs.Logs/Stream":       "user",
	"waypoint.exec.Exec/ListSessions": "user",
	"waypoint.exec.Exec/Start":        "user",

	"waypoint.entrypoint.Entrypoint/Attach": "entrypoint",
	"waypoint.entrypoint.Entrypoint/Exec":   "entrypoint",

	"waypoint.cluster.Cluster/Members":         "user",
	"waypoint.cluster.Cluster/RaftPeers":       "user",
	"waypoint.cluster.Cluster/CreateJoinToken": "user",
	"waypoint.cluster.Cluster/Servers":         "user runner entrypoint",
	"waypoint.cluster.Cluster/RemoveNode":      "user",
	"waypoint.cluster.Cluster/Join":            "anonymous user runner entrypoint node",

	"waypoint.node.NodeService/Apply":       "node",
	"waypoint.node.NodeService/ReadIndex":   "node",
	"waypoint.node.NodeService/Confirm":     "node",
	"waypoint.node.NodeService/RemoveNode":  "node",
	"waypoint.node.NodeService/RenewLeases": "node",
	"waypoint.node.NodeService/Logs":        "node",
	"waypoint.node.NodeService/Exec":        "node",
	"waypoint.node.NodeService/JobOutput":   "node",

	"grpc.health.v1.Health/Check":                                   "anonymous user runner entrypoint node",
	"grpc.health.v1.Health/Watch":                                   "anonymous user runner entrypoint node",
	"grpc.health.v1.Health/List":                                    "anonymous user runner entrypoint node",
	"grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      "user",
	"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "user",
}

// TestEveryMethodAdmitsWhomItShould calls every method that the server offers
// with every kind of credentials.
func TestEveryMethodAdmitsWhomItShould(t *testing.T) {
	t.Parallel()
	g := startGroup(t, 1)
	callers := g.everyCaller()
	seen := 0
	for _, m := range offeredMethods(t, g) {
		name := string(m.Parent().FullName()) + "/" + string(m.Name())
		may, listed := admitted[name]
		if !listed {
			t.Errorf("%s is not in the table of access", name)
			continue
		}
		seen++
		for _, c := range callers {
			want := strings.Contains(" "+may+" ", " "+c.kind+" ") || strings.Contains(may, "anonymous")
			if got, err := c.getsIn(g, m); got != want {
				t.Errorf("%s by %s: admitted %v, want %v (%v)", name, c.name, got, want, err)
			}
		}
	}
	if seen != len(admitted) {
		t.Errorf("%d methods are offered, the table has %d", seen, len(admitted))
	}
}

// offeredMethods returns the methods of every service that the server has
// registered, found by their descriptors.
func offeredMethods(t *testing.T, g *group) []protoreflect.MethodDescriptor {
	t.Helper()
	var methods []protoreflect.MethodDescriptor
	for service := range g.members[0].ServiceInfo() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			t.Fatal(err)
		}
		list := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range list.Len() {
			methods = append(methods, list.Get(i))
		}
	}
	return methods
}

// caller is one kind of credentials.
type caller struct {
	name string // for people
	kind string // as in the table; "nobody" never gets in where credentials count
	conn *grpc.ClientConn
	text string
}

// everyCaller makes one caller of each kind, valid and not.
func (g *group) everyCaller() []caller {
	g.t.Helper()
	user := g.token
	runner, _ := g.newToken(authpb.TokenKind_TOKEN_KIND_RUNNER)
	revoked, id := g.newToken(authpb.TokenKind_TOKEN_KIND_USER)
	if _, err := authpb.NewAuthClient(g.dial(0, user).Conn()).RevokeToken(g.context(time.Minute),
		&authpb.RevokeTokenRequest{Id: id}); err != nil {
		g.t.Fatal(err)
	}
	foreign := startGroup(g.t, 1).token
	nodeTLS, _, err := cluster.LocalCredentials(g.members[0].cfg.DataDir)
	if err != nil {
		g.t.Fatal(err)
	}
	// The table asks who is let in; that the server is the right one is tested with the client.
	plain := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}
	conn, nodeConn := g.rawConn(plain), g.rawConn(nodeTLS)
	return []caller{
		{"nobody", "anonymous", conn, ""},
		{"a user", "user", conn, user},
		{"a runner", "runner", conn, runner},
		{"an entrypoint", "entrypoint", conn, g.entrypointToken("held")},
		{"a node", "node", nodeConn, ""},
		{"a revoked user", "nobody", conn, revoked},
		{"a user of another cluster", "nobody", conn, foreign},
		{"a malformed token", "nobody", conn, "wp1_nonsense"},
		{"a user with a changed signature", "nobody", conn, user[:len(user)-4] + "AAAA"},
	}
}

func (g *group) rawConn(cfg *tls.Config) *grpc.ClientConn {
	g.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+g.members[0].Info().Addr, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// entrypointToken deploys nothing but the records of a deployment and returns
// its entrypoint's token.
func (g *group) entrypointToken(project string) string {
	g.t.Helper()
	ctx := g.context(time.Minute)
	c := g.dial(0, g.token)
	if _, err := projectpb.NewProjectServiceClient(c.Conn()).ApplyProject(ctx,
		&projectpb.ApplyProjectRequest{Name: project, Apps: []string{"web"}}); err != nil {
		g.t.Fatal(err)
	}
	deployments := deploymentpb.NewDeploymentServiceClient(c.Conn())
	ref := &deploymentpb.AppRef{Project: project, App: "web", Workspace: "default"}
	build, err := deployments.CreateBuild(ctx, &deploymentpb.CreateBuildRequest{App: ref, Plugin: "noop"})
	if err != nil {
		g.t.Fatal(err)
	}
	built, err := deployments.FinishBuild(ctx, &deploymentpb.FinishBuildRequest{Id: build.GetBuild().GetId(),
		Artifact: &deploymentpb.Artifact{Plugin: "noop", Description: "nothing"}})
	if err != nil {
		g.t.Fatal(err)
	}
	reply, err := deployments.CreateDeployment(ctx, &deploymentpb.CreateDeploymentRequest{App: ref,
		ArtifactId: built.GetArtifact().GetId(), Plugin: "noop", Instances: 1, Entrypoint: true})
	if err != nil {
		g.t.Fatal(err)
	}
	return reply.GetEntrypointToken()
}

// getsIn calls the method with an empty message. Whatever the service says of
// that message, it was asked.
func (c caller) getsIn(g *group, m protoreflect.MethodDescriptor) (bool, error) {
	ctx, cancel := context.WithTimeout(g.t.Context(), 3*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, protocol.HeaderRanges, protocol.EncodeRanges(protocol.Current()))
	if c.text != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, protocol.HeaderAuthorization, "Bearer "+c.text)
	}
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()))
	if err == nil {
		if err = stream.SendMsg(dynamicpb.NewMessage(m.Input())); err == nil || errors.Is(err, io.EOF) {
			_ = stream.CloseSend()
			err = stream.RecvMsg(dynamicpb.NewMessage(m.Output()))
		}
	}
	switch errs.KindOf(errs.FromStatus(err)) {
	case errs.Unauthenticated, errs.PermissionDenied:
		// Joining refuses an empty secret in the same words as a missing token.
		return m.Parent().Name() == "Cluster" && m.Name() == "Join", err
	}
	return true, err
}
