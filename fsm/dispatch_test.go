package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/protocol"
	"waypoint/state"
)

func TestEveryCommandKindIsHandled(t *testing.T) {
	all := allKinds()
	fields := kindOneof().Fields()
	for i := range fields.Len() {
		if k, ok := all[fields.Get(i).Number()]; !ok || k.introduced == 0 {
			t.Errorf("nothing handles %s", fields.Get(i).Name())
		}
	}
	current := protocol.Current().GetNode().GetCurrent()
	for _, k := range all {
		if k.introduced > current {
			t.Errorf("%s was introduced by version %d, this build speaks %d", k.name, k.introduced, current)
		}
	}
}

// rig is a bootstrapped state machine whose noop can be replaced.
type rig struct {
	*FSM
	log   bytes.Buffer
	index uint64
}

func newRig(t *testing.T) *rig {
	r := &rig{}
	r.FSM = New(state.New(), hclog.New(&hclog.LoggerOptions{Output: &r.log}))
	boot := &commandpb.Command{Kind: &commandpb.Command_Bootstrap{Bootstrap: &commandpb.Bootstrap{
		ClusterId: "c", Epoch: "e", NodeVersion: 1, Node: &clusterpb.Node{Id: "n", Name: "n"},
	}}}
	if result := r.one(boot); result.GetError() != nil {
		t.Fatal(result)
	}
	return r
}

func (r *rig) one(command *commandpb.Command) *commandpb.Result {
	data, err := proto.Marshal(&commandpb.Entry{Time: 1, Commands: []*commandpb.Command{command}})
	if err != nil {
		panic(err)
	}
	r.index++
	return r.Apply(&raft.Log{Index: r.index, Term: 1, Data: data}).([]*commandpb.Result)[0]
}

func (r *rig) replaceNoop(introduced uint32, run func(*op, *commandpb.Noop) (*commandpb.Result, error)) {
	add(r.kinds, introduced, run)
}

func noopCommand() *commandpb.Command {
	return &commandpb.Command{Term: 1, RequestId: "00000000000000000000000000", Kind: &commandpb.Command_Noop{Noop: &commandpb.Noop{}}}
}

func TestAPanicUndoesItsCommandAndIsTheSameRefusalEverywhere(t *testing.T) {
	var refusals [2]*commandpb.Result
	for i := range refusals {
		r := newRig(t)
		calls := 0
		r.replaceNoop(1, func(o *op, _ *commandpb.Noop) (*commandpb.Result, error) {
			calls++
			o.SetNodeVersion(9)
			panic(fmt.Sprintf("provoked in machine %d", i))
		})
		refusals[i] = r.one(noopCommand())
		again := r.one(noopCommand())
		again.Index = refusals[i].GetIndex()
		if calls != 1 || !proto.Equal(again, refusals[i]) {
			t.Errorf("it ran %d times; the retry gives %v", calls, again)
		}
		if r.store.Read().Meta().NodeVersion != 1 {
			t.Error("its change is there")
		}
		if text := r.log.String(); !strings.Contains(text, "provoked") || !strings.Contains(text, refusals[i].GetError().GetId()) {
			t.Errorf("the log does not say why: %s", text)
		}
	}
	if !proto.Equal(refusals[0], refusals[1]) {
		t.Errorf("the refusals are %v and %v", refusals[0], refusals[1])
	}
	if e := refusals[0].GetError(); e.GetKind() != errs.Internal || e.GetId() != "apply-2-0" {
		t.Errorf("the refusal is %v", e)
	}
}

func TestAKindAboveTheActiveVersionIsRefusedUntilItIsRaised(t *testing.T) {
	r := newRig(t)
	r.replaceNoop(2, noop)
	if e := r.one(noopCommand()).GetError(); e.GetKind() != errs.Unimplemented {
		t.Errorf("result is %v", e)
	}
	raise := &commandpb.Command{Term: 1, Kind: &commandpb.Command_NodeVersionRaise{NodeVersionRaise: &commandpb.NodeVersionRaise{Version: 2}}}
	r.one(raise)
	if e := r.one(noopCommand()).GetError(); e != nil {
		t.Errorf("after the raise: %v", e)
	}
}

// unknown is a command of a kind that this build has never heard of.
func unknown() *commandpb.Command {
	c := &commandpb.Command{Term: 1}
	c.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 9999, protowire.BytesType), nil))
	return c
}

func TestAnUnknownKindIsTheRefusalThatNewerBuildsGive(t *testing.T) {
	newer, older := newRig(t), newRig(t)
	newer.replaceNoop(2, noop)
	known, foreign := newer.one(noopCommand()), older.one(unknown())
	if !proto.Equal(known, foreign) {
		t.Errorf("a newer build says %v, this one %v", known, foreign)
	}
}

func panicOf(f func()) (text any) {
	defer func() { text = recover() }()
	f()
	return nil
}

func TestTheNodeStopsRatherThanGuess(t *testing.T) {
	r := newRig(t)
	raise := &commandpb.Command{Term: 1, Kind: &commandpb.Command_NodeVersionRaise{NodeVersionRaise: &commandpb.NodeVersionRaise{
		Version: protocol.Current().GetNode().GetCurrent() + 1,
	}}}
	r.one(raise)
	if text, ok := panicOf(func() { r.one(unknown()) }).(string); !ok || !strings.Contains(text, "newer build") {
		t.Errorf("an unknown kind: %q", text)
	}
	if text, ok := panicOf(func() { r.Apply(&raft.Log{Index: 9, Data: []byte{0xff}}) }).(string); !ok || !strings.Contains(text, "entry 9") {
		t.Errorf("a damaged entry: %q", text)
	}
}

func TestAnEmptyCommandIsRefused(t *testing.T) {
	if e := newRig(t).one(&commandpb.Command{Term: 1}).GetError(); e.GetKind() != errs.Invalid {
		t.Errorf("result is %v", e)
	}
}

// sink is a raft.SnapshotSink that keeps or fails.
type sink struct {
	bytes.Buffer
	fail             error
	closed, canceled bool
}

func (s *sink) ID() string    { return "s" }
func (s *sink) Close() error  { s.closed = true; return nil }
func (s *sink) Cancel() error { s.canceled = true; return nil }
func (s *sink) Write(p []byte) (int, error) {
	if s.fail != nil {
		return 0, s.fail
	}
	return s.Buffer.Write(p)
}

func TestSnapshotsGoThroughRaftsInterfaces(t *testing.T) {
	r := newRig(t)
	snap, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	r.one(&commandpb.Command{Term: 1, Kind: &commandpb.Command_NodeVersionRaise{NodeVersionRaise: &commandpb.NodeVersionRaise{Version: 5}}})
	kept := &sink{}
	if err := snap.Persist(kept); err != nil || !kept.closed || kept.canceled {
		t.Fatalf("Persist = %v; %+v", err, kept)
	}
	snap.Release()
	if err := r.Restore(io.NopCloser(bytes.NewReader(kept.Bytes()[:kept.Len()-1]))); !errors.Is(err, state.ErrSnapshot) {
		t.Errorf("a short snapshot: %v", err)
	}
	if got := r.store.Read().Meta().NodeVersion; got != 5 {
		t.Errorf("a refused restore has changed the version to %d", got)
	}
	if err := r.Restore(io.NopCloser(bytes.NewReader(kept.Bytes()))); err != nil {
		t.Fatal(err)
	}
	if got := r.store.Read().Meta().NodeVersion; got != 1 {
		t.Errorf("the version is %d, not that of the snapshot's moment", got)
	}
	full := errors.New("disk full")
	failing := &sink{fail: full}
	if err := snap.Persist(failing); !errors.Is(err, full) || failing.closed || !failing.canceled {
		t.Errorf("Persist = %v; %+v", err, failing)
	}
}
