package fsm_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/errpb"
	"waypoint/api/execpb"
	"waypoint/api/jobpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/ids"
)

// Two machines that are fed one log end with the same state, byte for byte,
// and give the same results on the way, although one of them is replaced by
// its own snapshot now and then.
func TestOneLogGivesOneState(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		steady, restored := newShop(t), emptyMachine(t)
		steady.restoreTo(restored)
		d := drawer{r, steady}
		for range rapid.IntRange(1, 25).Draw(r, "entries") {
			steady.pass(time.Duration(rapid.IntRange(-5, 200).Draw(r, "seconds")) * time.Second)
			commands := make([]*commandpb.Command, rapid.IntRange(1, 6).Draw(r, "commands"))
			for i := range commands {
				commands[i] = d.command(commands[:i])
			}
			entry := steady.entry(commands...)
			want, got := steady.fsm.Apply(entry).([]*commandpb.Result), restored.fsm.Apply(entry).([]*commandpb.Result)
			for i := range want {
				if !proto.Equal(want[i], got[i]) {
					r.Fatalf("%v gives %v here and %v there", commands[i], want[i], got[i])
				}
				if want[i].GetError().GetKind() == errs.Internal {
					r.Fatalf("%v fails inside: %v", commands[i], want[i])
				}
			}
			if rapid.IntRange(0, 9).Draw(r, "restore") == 0 {
				next := emptyMachine(t)
				restored.restoreTo(next)
				restored = next
			}
		}
		if !bytes.Equal(steady.snapshot(), restored.snapshot()) {
			r.Fatal("the snapshots differ")
		}
	})
}

// The generator is worth something only if much of what it makes succeeds.
func TestRandomCommandsSucceedOftenEnough(t *testing.T) {
	succeeded, kinds := 0, map[string]bool{}
	const total = 3000
	generator := rapid.Custom(func(r *rapid.T) []*commandpb.Command {
		d := drawer{r, newShop(t)}
		commands := make([]*commandpb.Command, 300)
		for i := range commands {
			commands[i] = d.command(commands[:i])
		}
		return commands
	})
	for seed := range total / 300 {
		m := newShop(t)
		for _, command := range generator.Example(seed) {
			result := m.apply(command)[0]
			if result.GetError().GetKind() == errpb.Kind_KIND_UNSPECIFIED {
				succeeded++
				kinds[fmt.Sprintf("%T", command.GetKind())] = true
			}
		}
	}
	if succeeded < total/5 || len(kinds) < 26 {
		t.Errorf("%d of %d commands of %d kinds succeed: %v", succeeded, total, len(kinds), kinds)
	}
}

// drawer draws commands about few objects, so that they meet.
type drawer struct {
	*rapid.T
	m *machine
}

func pick[V any](d drawer, label string, values ...V) V {
	return rapid.SampledFrom(values).Draw(d.T, label)
}

func (d drawer) id(prefix string) string {
	return fmt.Sprint(prefix, rapid.IntRange(0, 2).Draw(d.T, prefix))
}

func (d drawer) command(earlier []*commandpb.Command) *commandpb.Command {
	if len(earlier) > 0 && rapid.IntRange(0, 9).Draw(d.T, "again") == 0 {
		return earlier[rapid.IntRange(0, len(earlier)-1).Draw(d.T, "which")]
	}
	command := wrap(d.kind())
	command.TokenId = pick(d, "token", userToken, userToken, userToken, node1, node1, runnerToken, "t-d0", "nobody")
	born := d.m.now.Add(time.Duration(rapid.IntRange(-700, 5).Draw(d.T, "age")) * time.Second / 2)
	command.RequestId = ids.Derive(ids.Derive(fixedID, int(born.Unix())), rapid.IntRange(0, 1<<20).Draw(d.T, "request"))
	command.RequestId = atTime(born, command.RequestId)
	switch command.GetKind().(type) {
	case *commandpb.Command_JobAssign, *commandpb.Command_JobExpire, *commandpb.Command_Prune, *commandpb.Command_NodeVersionRaise,
		*commandpb.Command_RestartGrant:
		command.Term = pick[uint64](d, "term", term, term, term, term, term-1, 0)
	}
	return command
}

const fixedID = "01HF7YAT000000000000000000"

// atTime gives an id another birth time, so that examples are repeatable.
func atTime(born time.Time, id string) string {
	return ids.At(born)[:10] + id[10:]
}

func (d drawer) ref() *deploymentpb.AppRef {
	return &deploymentpb.AppRef{Project: pick(d, "project", "shop", "shop", "shop", "p0"), App: pick(d, "app", "web", "web", "web", "api"), Workspace: pick(d, "workspace", "default", "default", "default", "prod")}
}

func (d drawer) fence() *deploymentpb.Fence {
	if rapid.IntRange(0, 2).Draw(d.T, "fenced") == 0 {
		return d.attempt()
	}
	return nil
}

func (d drawer) attempt() *deploymentpb.Fence {
	return fenceOf(d.id("j"), pick[uint32](d, "attempt", 1, 1, 1, 2))
}

func (d drawer) failure() string { return pick(d, "failure", "", "", "broken") }

func (d drawer) kind() proto.Message {
	switch rapid.IntRange(0, 3).Draw(d.T, "group") {
	case 0:
		return d.administration()
	case 1:
		return d.operation()
	case 2:
		return d.attachment()
	}
	return d.job()
}

func (d drawer) administration() proto.Message {
	switch rapid.IntRange(0, 11).Draw(d.T, "administration") {
	case 0:
		return &commandpb.NodeUpsert{Node: &clusterpb.Node{Id: "n1", Name: d.id("name"), BootId: d.id("boot")}}
	case 1:
		return &commandpb.NodeVersionRaise{Version: uint32(rapid.IntRange(1, 3).Draw(d.T, "version"))}
	case 2:
		return &commandpb.TokenCreate{Token: &authpb.Token{
			Id: d.id("token"), Kind: pick(d, "kind", authpb.TokenKind_TOKEN_KIND_USER, authpb.TokenKind_TOKEN_KIND_JOIN),
			ExpiresAt: timestamppb.New(d.m.now.Add(time.Hour)), JoinSecretHash: []byte("hash"),
		}}
	case 3:
		return &commandpb.TokenRevoke{Id: d.id("token")}
	case 4:
		return &commandpb.JoinTokenUse{TokenId: d.id("token"), SecretHash: []byte("hash"), CsrKeyHash: []byte(d.id("key")),
			Serial: d.id("serial"), Node: &clusterpb.Node{Id: d.id("n"), Name: d.id("name")}}
	case 5:
		return &commandpb.NodeRemove{Id: pick(d, "node", "n0", "n2", "n3", "n4")}
	case 6:
		return &commandpb.ProjectApply{Name: d.id("p"), Apps: []string{pick(d, "app", "web", "api"), d.id("a")}}
	case 7:
		return &commandpb.ProjectDestroy{Name: d.id("p")}
	case 8:
		return &commandpb.Prune{Max: uint32(rapid.IntRange(0, 3).Draw(d.T, "max")), InstanceAge: durationpb.New(time.Minute), JobsKeep: 1, ExecSessionsKeep: 2}
	case 9:
		return bootstrapCommand()
	case 10:
		return &commandpb.ConfigPolicySet{Project: "shop", App: pick(d, "app", "web", "web", "none"),
			Policy: pick(d, "policy", nil, &configpb.Policy{}, &configpb.Policy{Reload: configpb.Reload_RELOAD_NEXT_START, MaxUnavailable: "2"})}
	}
	return d.configSet()
}

func (d drawer) configSet() proto.Message {
	c := &commandpb.ConfigSet{}
	for range rapid.IntRange(1, 3).Draw(d.T, "changes") {
		change := &configpb.Change{
			Scope:  &configpb.Scope{Project: pick(d, "project", "", "shop", "shop"), App: pick(d, "app", "", "web"), Workspace: pick(d, "workspace", "", "prod")},
			Name:   d.id("K"),
			Sealed: []byte(d.id("v")),
			Delete: rapid.IntRange(0, 4).Draw(d.T, "delete") == 0,
			Origin: pick(d, "origin", configpb.Origin_ORIGIN_UNSPECIFIED, configpb.Origin_ORIGIN_FILE),
		}
		if path := pick(d, "path", "", "", "/x", "/x/y", "/z"); path != "" {
			change.File = &configpb.File{Path: path, Mode: 0o600}
		}
		if rapid.IntRange(0, 4).Draw(d.T, "conditional") == 0 {
			change.IfVersion = proto.Uint64(uint64(rapid.IntRange(0, 2).Draw(d.T, "version")))
		}
		c.Changes = append(c.Changes, change)
	}
	if rapid.IntRange(0, 3).Draw(d.T, "replace") == 0 {
		c.ReplaceFileScope = &configpb.Scope{Project: "shop", App: "web"}
	}
	return c
}

func (d drawer) operation() proto.Message {
	switch rapid.IntRange(0, 6).Draw(d.T, "operation") {
	case 0:
		return &commandpb.BuildCreate{Build: &deploymentpb.Build{Id: d.id("b"), App: d.ref(), Fence: d.fence()}}
	case 1:
		return &commandpb.BuildFinish{Id: d.id("b"), Fence: d.fence(), Error: d.failure(), Artifact: &deploymentpb.Artifact{Id: d.id("art")}}
	case 2:
		id := d.id("d")
		return &commandpb.DeploymentCreate{
			Deployment: &deploymentpb.Deployment{Id: id, App: d.ref(), Fence: d.fence(), Entrypoint: true, ArtifactId: pick(d, "artifact", "", "", "", "art0")},
			Token:      &authpb.Token{Id: "t-" + id},
		}
	case 3:
		return &commandpb.DeploymentFinish{Id: d.id("d"), Fence: d.fence(), Error: pick(d, "failure", "", "", "", "broken")}
	case 4:
		return &commandpb.DeploymentDestroy{Id: d.id("d"), Fence: d.fence()}
	case 5:
		return &commandpb.ReleaseCreate{Release: &deploymentpb.Release{Id: d.id("r"), App: shopRef(), Fence: d.fence(), DeploymentId: d.id("d")}}
	}
	return &commandpb.ReleaseFinish{Id: d.id("r"), Fence: d.fence(), Error: d.failure()}
}

func (d drawer) attachment() proto.Message {
	node, boot, generation := pick(d, "node", "n1", "n1", "n1", "n2"), pick(d, "boot", "boot1", "boot1", "boot1", "boot2"), pick[uint64](d, "generation", 1, 1, 2, 3)
	starts, config := pick[uint32](d, "starts", 1, 1, 1, 2), []byte(pick(d, "config", "new", "new", "newer", ""))
	switch rapid.IntRange(0, 7).Draw(d.T, "attachment") {
	case 0:
		return &commandpb.InstanceAttach{Instance: &deploymentpb.Instance{
			Id: d.id("i"), DeploymentId: d.id("d"), NodeId: node, NodeBoot: boot, Generation: generation, ChildStarts: starts, RestartWanted: config,
		}}
	case 1:
		return &commandpb.InstanceUpdate{Id: d.id("i"), NodeId: node, NodeBoot: boot, Generation: generation,
			State:    deploymentpb.InstanceState(rapid.IntRange(0, 4).Draw(d.T, "state")),
			ChildPid: 7, ChildStarts: starts, ChildConfig: []byte("old"), RestartWanted: config, ExitCode: 1}
	case 2:
		return &commandpb.RunnerAttach{Runner: &runnerpb.Runner{
			Id: d.id("run"), NodeId: node, NodeBoot: boot, Generation: generation, Labels: map[string]string{"a": "1", "b": "2", "c": "3"},
		}}
	case 3:
		return &commandpb.RunnerDetach{Id: d.id("run"), NodeId: node, NodeBoot: boot, Generation: generation, Gone: rapid.Bool().Draw(d.T, "gone")}
	case 4:
		grant := &commandpb.RestartGrant{DeploymentId: d.id("d")}
		for i := range 3 {
			grant.Turns = append(grant.Turns, &commandpb.RestartGrant_Turn{InstanceId: fmt.Sprint("i", i), Starts: starts, Config: config})
		}
		return grant
	}
	return d.lostOrExec(node, boot)
}

func (d drawer) lostOrExec(node, boot string) proto.Message {
	at := timestamppb.New(d.m.now.Add(time.Duration(rapid.IntRange(-20, 5).Draw(d.T, "at")) * time.Second))
	switch rapid.IntRange(0, 3).Draw(d.T, "exec") {
	case 0, 1:
		return &commandpb.ExecStart{Session: &execpb.Session{Id: d.id("x"), App: d.ref(), InstanceId: d.id("i"), NodeBoot: boot, TokenId: "user", StartedAt: at}, Resumed: pick(d, "resumed", true, false)}
	case 2:
		end := &commandpb.ExecEnd{Id: d.id("x"), EndedAt: at, Error: "lost"}
		if rapid.Bool().Draw(d.T, "known") {
			end.Error, end.Exit = "", &execpb.Exit{Code: 3}
		}
		return end
	}
	return &commandpb.NodeLost{NodeId: node, BootId: boot, OtherBoots: rapid.Bool().Draw(d.T, "other")}
}

func (d drawer) job() proto.Message {
	switch rapid.IntRange(0, 8).Draw(d.T, "job") {
	case 0, 1:
		return &commandpb.JobSubmit{Id: d.id("j"), Spec: &jobpb.Spec{
			Operation: jobpb.Operation(rapid.IntRange(0, 6).Draw(d.T, "operation")), Project: "shop", App: pick(d, "app", "web", "api", ""),
			Workspace: "default", Variables: map[string]string{"x": "1", "y": "2", "z": "3"},
		}}
	case 2, 3:
		return &commandpb.JobAssign{Id: d.id("j"), RunnerId: d.id("run")}
	case 4, 8:
		return &commandpb.JobStage{Fence: d.attempt(), Stage: &jobpb.Stage{Name: d.id("stage"), State: jobpb.StageState(rapid.IntRange(1, 4).Draw(d.T, "state"))}}
	case 5:
		return &commandpb.JobFinish{Fence: d.attempt(), State: jobpb.State(rapid.IntRange(2, 5).Draw(d.T, "state")), Error: d.failure(), OutputZstd: []byte("z")}
	case 6:
		return &commandpb.JobCancel{Id: d.id("j")}
	}
	return &commandpb.JobExpire{Fence: d.attempt(), Reason: "gone"}
}
