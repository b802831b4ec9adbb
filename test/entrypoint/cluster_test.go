package entrypoint

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/types/known/durationpb"

	"waypoint/agent"
	"waypoint/api/authpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/api/logspb"
	"waypoint/api/projectpb"
	"waypoint/client"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
)

// server is one real node, which all tests share.
type server struct {
	*client.Client
	addr   string
	pin    string // of its CA
	ca     string // PEM
	cancel context.CancelFunc
	done   chan error
}

// theServer is started when the first test needs it.
var theServer struct {
	once sync.Once
	s    *server
	err  error
}

// node returns the running node.
func node(t *testing.T) *server {
	t.Helper()
	theServer.once.Do(func() { theServer.s, theServer.err = startServer() })
	check(t, theServer.err)
	return theServer.s
}

func endCluster() {
	if s := theServer.s; s != nil {
		_ = s.Close()
		s.cancel()
		<-s.done
	}
}

func startServer() (*server, error) {
	ctx, cancel := context.WithCancel(context.Background())
	a, err := agent.New(ctx, agent.Config{
		Bootstrap: true, DataDir: filepath.Join(built.dir, "node"), Name: "n1", Profile: "wan",
		Addr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0",
	}, hclog.NewNullLogger())
	if err != nil {
		cancel()
		return nil, err
	}
	s := &server{addr: a.Info().Addr, pin: a.Info().CAFingerprint, cancel: cancel, done: make(chan error, 1)}
	go func() { s.done <- a.Run(ctx) }()
	select {
	case <-a.Ready():
	case err := <-s.done:
		cancel()
		return nil, fmt.Errorf("the node ended: %w", err)
	case <-time.After(time.Minute):
		return nil, errors.New("the node is not ready after a minute")
	}
	s.addr = a.Info().Addr
	if s.ca, err = caOf(s.addr); err != nil {
		return nil, err
	}
	s.Client, err = client.New(client.Config{Addrs: []string{s.addr}, CA: s.pin, Token: a.Info().UserToken})
	return s, err
}

// caOf asks a node for its CA's certificate; the client of the tests checks the
// fingerprint.
func caOf(addr string) (string, error) {
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	for _, cert := range conn.ConnectionState().PeerCertificates {
		if cert.IsCA {
			return pemOf(cert.Raw), nil
		}
	}
	return "", errors.New("the node does not show its CA")
}

// deployment is one of the node's, for one test.
type deployment struct {
	t        *testing.T
	s        *server
	id       string
	token    string
	tokenID  string
	project  string
	greeting string // in its configuration
}

// deploy makes the records of a deployment with the variable GREETING.
func deploy(t *testing.T) *deployment {
	t.Helper()
	s := node(t)
	ctx := within(t, time.Minute)
	d := &deployment{t: t, s: s, project: "p-" + fmt.Sprintf("%x", ids.New()[10:20])}
	d.greeting = "hello " + d.project
	_, err := projectpb.NewProjectServiceClient(s.Conn()).ApplyProject(ctx,
		&projectpb.ApplyProjectRequest{Name: d.project, Apps: []string{"web"}})
	check(t, err)
	d.set("GREETING", d.greeting)
	deployments := deploymentpb.NewDeploymentServiceClient(s.Conn())
	build, err := deployments.CreateBuild(ctx, &deploymentpb.CreateBuildRequest{App: d.app(), Plugin: "noop"})
	check(t, err)
	built, err := deployments.FinishBuild(ctx, &deploymentpb.FinishBuildRequest{Id: build.GetBuild().GetId(),
		Artifact: &deploymentpb.Artifact{Plugin: "noop", Description: "nothing"}})
	check(t, err)
	made, err := deployments.CreateDeployment(ctx, &deploymentpb.CreateDeploymentRequest{App: d.app(),
		ArtifactId: built.GetArtifact().GetId(), Plugin: "noop", Instances: 1, Entrypoint: true})
	check(t, err)
	d.id, d.token, d.tokenID = made.GetDeployment().GetId(), made.GetEntrypointToken(), made.GetDeployment().GetTokenId()
	_, err = deployments.FinishDeployment(ctx, &deploymentpb.FinishDeploymentRequest{Id: d.id})
	check(t, err)
	return d
}

func (d *deployment) app() *deploymentpb.AppRef {
	return &deploymentpb.AppRef{Project: d.project, App: "web", Workspace: "default"}
}

// env is an entrypoint's environment for this deployment, with the node at addr.
func (d *deployment) env(addr string, more ...string) []string {
	return append([]string{
		"WAYPOINT_SERVER_ADDR=" + addr, "WAYPOINT_SERVER_CA=" + d.s.pin,
		"WAYPOINT_DEPLOYMENT_ID=" + d.id, "WAYPOINT_ENTRYPOINT_TOKEN=" + d.token,
	}, more...)
}

func (d *deployment) set(name, value string) {
	d.t.Helper()
	_, err := configpb.NewConfigClient(d.s.Conn()).Set(within(d.t, time.Minute), &configpb.SetRequest{
		Changes: []*configpb.Change{{Scope: &configpb.Scope{Project: d.project}, Name: name, Value: value}},
	})
	check(d.t, err)
}

// revoke makes the deployment's token worthless.
func (d *deployment) revoke() {
	d.t.Helper()
	_, err := authpb.NewAuthClient(d.s.Conn()).RevokeToken(within(d.t, time.Minute), &authpb.RevokeTokenRequest{Id: d.tokenID})
	check(d.t, err)
}

func (d *deployment) destroy() {
	d.t.Helper()
	_, err := deploymentpb.NewDeploymentServiceClient(d.s.Conn()).DestroyDeployment(within(d.t, time.Minute),
		&deploymentpb.DestroyDeploymentRequest{Id: d.id})
	check(d.t, err)
}

// expired makes a token whose time is over: its request says that it was made
// some minutes ago. Only tokens of users and runners have a lifetime that a
// caller can choose; a node looks at that first.
func (s *server) expired(t *testing.T) string {
	t.Helper()
	ctx := client.WithRequestID(within(t, time.Minute), ids.At(time.Now().Add(-4*time.Minute)))
	made, err := authpb.NewAuthClient(s.Conn()).CreateToken(ctx, &authpb.CreateTokenRequest{
		Kind: authpb.TokenKind_TOKEN_KIND_RUNNER, Subject: "test", Lifetime: durationpb.New(time.Minute),
	})
	check(t, err)
	if expires := made.GetToken().GetExpiresAt().AsTime(); expires.After(time.Now()) {
		t.Fatalf("the token expires only at %s", expires)
	}
	return made.GetText()
}

// instance waits for the deployment's one attached instance.
func (d *deployment) instance() *deploymentpb.Instance {
	d.t.Helper()
	var found *deploymentpb.Instance
	wait.For(d.t, patience, "an attached instance", func() bool {
		reply, err := deploymentpb.NewDeploymentServiceClient(d.s.Conn()).ListInstances(within(d.t, patience),
			&deploymentpb.ListInstancesRequest{DeploymentId: d.id})
		check(d.t, err)
		for _, one := range reply.GetInstances() {
			if one.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED {
				found = one
			}
		}
		return found != nil
	})
	return found
}

// logs returns what the node has of the deployment's log, with what it says
// about gaps.
func (d *deployment) logs() string {
	d.t.Helper()
	stream, err := logspb.NewLogsClient(d.s.Conn()).Stream(within(d.t, patience), &logspb.StreamRequest{DeploymentId: d.id, App: d.app()})
	check(d.t, err)
	var text bytes.Buffer
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		check(d.t, err)
		for _, batch := range reply.GetBatches() {
			if gap := batch.GetGap(); gap != nil {
				fmt.Fprintf(&text, "(gap of %d lines: %s)\n", gap.GetLines(), gap.GetReason())
			}
			for _, line := range batch.GetLines() {
				text.Write(append(line.GetData(), '\n'))
			}
		}
	}
}

// exec runs a command in an instance and returns its output and exit code.
func (d *deployment) exec(ctx context.Context, instance string, argv ...string) (string, int, error) {
	stream, err := execpb.NewExecClient(d.s.Conn()).Start(ctx)
	if err != nil {
		return "", 0, err
	}
	open := &execpb.Open{SessionId: ids.New(), InstanceId: instance, Argv: argv}
	if err := stream.Send(&execpb.Input{Kind: &execpb.Input_Open{Open: open}}); err != nil && !errors.Is(err, io.EOF) {
		return "", 0, err
	}
	var text bytes.Buffer
	for {
		out, err := stream.Recv()
		if err != nil {
			return text.String(), 0, fmt.Errorf("after %q: %w", text.String(), err)
		}
		switch kind := out.GetKind().(type) {
		case *execpb.Output_Stdout:
			text.Write(kind.Stdout)
		case *execpb.Output_Stderr:
			text.Write(kind.Stderr)
		case *execpb.Output_Refused:
			return text.String(), 0, fmt.Errorf("refused: %s", kind.Refused.GetMessage())
		case *execpb.Output_Exit:
			for err == nil { // to the stream's end
				_, err = stream.Recv()
			}
			return text.String(), int(kind.Exit.GetCode()), nil
		}
	}
}

// within is a context that ends after limit or with the test.
func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}
