package fsm_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/fsm"
	"waypoint/internal/ids"
	"waypoint/state"
)

const (
	userToken   = "user"
	runnerToken = "runner"
	node1       = "node:n1"
	term        = 3
)

// machine is a state machine with a log, a clock and, once made by
// newMachine, a cluster in it.
type machine struct {
	testing.TB
	store *state.Store
	fsm   *fsm.FSM
	index uint64
	now   time.Time
}

func emptyMachine(t testing.TB) *machine {
	store := state.New()
	logger := hclog.New(&hclog.LoggerOptions{Output: io.Discard})
	return &machine{TB: t, store: store, fsm: fsm.New(store, logger), now: time.Unix(1_700_000_000, 0)}
}

func newMachine(t testing.TB) *machine {
	m := emptyMachine(t)
	m.ok(m.apply(wrap(bootstrapCommand()))[0])
	m.ok(m.do(&commandpb.TokenCreate{Token: &authpb.Token{Id: runnerToken, Kind: authpb.TokenKind_TOKEN_KIND_RUNNER}}))
	return m
}

func bootstrapCommand() *commandpb.Bootstrap {
	return &commandpb.Bootstrap{
		ClusterId: "cluster", Epoch: "epoch", NodeVersion: 1,
		Node:    &clusterpb.Node{Id: "n1", Name: "one", BootId: "boot1"},
		Token:   &authpb.Token{Id: userToken, Kind: authpb.TokenKind_TOKEN_KIND_USER},
		Secrets: []*commandpb.Secret{{Name: "ca-key", Sealed: []byte("sealed")}},
	}
}

// newShop has a project "shop" with the apps "web" and "api".
func newShop(t testing.TB) *machine {
	m := newMachine(t)
	m.ok(m.do(&commandpb.ProjectApply{Name: "shop", Apps: []string{"web", "api"}}))
	return m
}

// wrap makes a command of the message of its kind.
func wrap(kind proto.Message) *commandpb.Command {
	command := &commandpb.Command{}
	m := command.ProtoReflect()
	fields := m.Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		if fields.Get(i).Message() == kind.ProtoReflect().Descriptor() {
			m.Set(fields.Get(i), m.NewField(fields.Get(i)))
			proto.Merge(m.Get(fields.Get(i)).Message().Interface(), kind)
			return command
		}
	}
	panic(fmt.Sprintf("%T is no command kind", kind))
}

// entry is the next log entry with the commands.
func (m *machine) entry(commands ...*commandpb.Command) *raft.Log {
	m.Helper()
	data, err := proto.Marshal(&commandpb.Entry{Time: m.now.UnixNano(), Commands: commands})
	if err != nil {
		m.Fatal(err)
	}
	m.index++
	return &raft.Log{Index: m.index, Term: term, Type: raft.LogCommand, Data: data}
}

func (m *machine) apply(commands ...*commandpb.Command) []*commandpb.Result {
	m.Helper()
	results := m.fsm.Apply(m.entry(commands...)).([]*commandpb.Result)
	if len(results) != len(commands) {
		m.Fatalf("%d results of %d commands", len(results), len(commands))
	}
	return results
}

// by is a command of the token's holder with a request id of its own.
func (m *machine) by(token string, kind proto.Message) *commandpb.Command {
	command := wrap(kind)
	command.TokenId, command.RequestId = token, ids.At(m.now)
	return command
}

func (m *machine) as(token string, kind proto.Message) *commandpb.Result {
	m.Helper()
	return m.apply(m.by(token, kind))[0]
}

func (m *machine) do(kind proto.Message) *commandpb.Result {
	m.Helper()
	return m.as(userToken, kind)
}

// lead applies a command of a task of the leader.
func (m *machine) lead(kind proto.Message) *commandpb.Result {
	m.Helper()
	command := wrap(kind)
	command.Term = term
	return m.apply(command)[0]
}

func (m *machine) ok(result *commandpb.Result, ids ...string) {
	m.Helper()
	if result.GetError() != nil {
		m.Fatalf("refused: %v", result.GetError())
	}
	if result.GetUnchanged() {
		m.Fatal("nothing was changed")
	}
	m.named(result, ids)
}

func (m *machine) unchanged(result *commandpb.Result, ids ...string) {
	m.Helper()
	if result.GetError() != nil || !result.GetUnchanged() {
		m.Fatalf("result is %v, want unchanged", result)
	}
	m.named(result, ids)
}

func (m *machine) named(result *commandpb.Result, ids []string) {
	m.Helper()
	if len(ids) > 0 && !slices.Equal(result.GetIds(), ids) {
		m.Errorf("result names %q, want %q", result.GetIds(), ids)
	}
}

// refused wants a refusal that has changed nothing.
func (m *machine) refused(kind errs.Kind, result *commandpb.Result) {
	m.Helper()
	if got := result.GetError().GetKind(); got != kind {
		m.Fatalf("result is %v, want a refusal of %v", result, kind)
	}
	if result.GetError().GetMessage() == "" || len(result.GetIds()) > 0 || result.GetUnchanged() {
		m.Errorf("the refusal is odd: %v", result)
	}
}

func (m *machine) snapshot() []byte {
	m.Helper()
	var b bytes.Buffer
	if _, err := m.store.Snapshot().WriteTo(&b); err != nil {
		m.Fatal(err)
	}
	return b.Bytes()
}

func (m *machine) stamp() *timestamppb.Timestamp { return timestamppb.New(m.now) }

func (m *machine) pass(d time.Duration) { m.now = m.now.Add(d) }

func shopRef() *deploymentpb.AppRef {
	return &deploymentpb.AppRef{Project: "shop", App: "web", Workspace: "default"}
}

func fenceOf(job string, attempt uint32) *deploymentpb.Fence {
	return &deploymentpb.Fence{JobId: job, Attempt: attempt}
}

// deployed makes a deployment that succeeded, with a token "t-"+id.
func (m *machine) deployed(id string) {
	m.Helper()
	m.ok(m.do(&commandpb.DeploymentCreate{
		Deployment: &deploymentpb.Deployment{Id: id, App: shopRef(), Entrypoint: true, Instances: 1},
		Token:      &authpb.Token{Id: "t-" + id},
	}))
	m.ok(m.do(&commandpb.DeploymentFinish{Id: id, Data: []byte("pid"), Url: "http://x"}))
}

// attached attaches an instance to node n1.
func (m *machine) attached(id, deployment string, generation uint64) *commandpb.Result {
	m.Helper()
	return m.as(node1, &commandpb.InstanceAttach{Instance: &deploymentpb.Instance{
		Id: id, DeploymentId: deployment, NodeId: "n1", NodeBoot: "boot1", Generation: generation, Host: "h",
	}})
}

// withRunner attaches a runner with two slots to node n1.
func (m *machine) withRunner(id string) {
	m.Helper()
	m.ok(m.as(node1, &commandpb.RunnerAttach{Runner: &runnerpb.Runner{
		Id: id, Name: id, Host: "h", Slots: 2, NodeId: "n1", NodeBoot: "boot1", Generation: 1,
		Labels: map[string]string{"zone": "a"},
	}}))
}

// running submits a job and assigns it to the runner.
func (m *machine) running(id, runner string, spec *jobpb.Spec) {
	m.Helper()
	m.ok(m.do(&commandpb.JobSubmit{Id: id, Spec: spec}), id)
	m.ok(m.lead(&commandpb.JobAssign{Id: id, RunnerId: runner}), id)
}

func spec(operation jobpb.Operation) *jobpb.Spec {
	return &jobpb.Spec{Operation: operation, Project: "shop", App: "web", Workspace: "default"}
}

func (m *machine) stampAt(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }

// restoreTo makes the other machine one with this one's state and log.
func (m *machine) restoreTo(other *machine) {
	m.Helper()
	if err := other.fsm.Restore(io.NopCloser(bytes.NewReader(m.snapshot()))); err != nil {
		m.Fatal(err)
	}
	other.index, other.now = m.index, m.now
}
