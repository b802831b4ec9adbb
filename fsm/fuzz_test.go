package fsm_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/protofuzz"
)

// Whatever an entry holds, as long as it is one: it never panics, never fails
// inside a command, does the same on every machine, and leaves a state that
// survives a snapshot.
func FuzzEntry(f *testing.F) {
	seed := emptyMachine(f)
	create := wrap(&commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "b", App: shopRef()}})
	create.Term = term
	f.Add(seed.entry(wrap(bootstrapCommand())).Data)
	f.Add(seed.entry(create, wrap(&commandpb.Noop{})).Data)
	f.Add(seed.entry(seed.by(userToken, &commandpb.ProjectApply{Name: "p", Apps: []string{"a"}})).Data)
	start := busy(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if proto.Unmarshal(data, &commandpb.Entry{}) != nil {
			t.Skip("not an entry")
		}
		same(t, start, data)
	})
}

// Commands of every kind about things that exist, whatever else they say.
func FuzzCommands(f *testing.F) {
	for kind := range len(kindFields()) {
		f.Add(append([]byte{byte(kind), byte(kind % 4)}, bytes.Repeat([]byte{1, 7, 3, 2, 1, 8, 5}, 12)...))
	}
	start := busy(f)
	words := []string{"", "n1", "n2", "boot1", "shop", "web", "api", "default", "b1", "d1", "r1", "j1", "j2", "i1", "run1", "e1", "t-d1",
		"K", "25%", "/etc/f", "SIGHUP", "hash", userToken, runnerToken, "\x00", "*"}
	f.Fuzz(func(t *testing.T, data []byte) {
		source := protofuzz.New(data, words...)
		var entries [][]byte
		for n := 0; n < 4 && !source.Empty(); n++ {
			entry := &commandpb.Entry{Time: start.now.UnixNano()}
			for i := 0; i < 4 && !source.Empty(); i++ {
				entry.Commands = append(entry.Commands, drawn(source, start, 4*n+i))
			}
			if source.Intn(8) == 7 {
				entry.Time = int64(source.Number())
			}
			encoded, err := proto.Marshal(entry)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, encoded)
		}
		same(t, start, entries...)
	})
}

// drawn is a command that is not refused for its sender or its request id.
func drawn(source *protofuzz.Source, start origin, number int) *commandpb.Command {
	command := &commandpb.Command{}
	fields := kindFields()
	field := fields[source.Intn(len(fields))]
	content := command.ProtoReflect().NewField(field)
	switch source.Intn(4) {
	case 0:
		command.TokenId = userToken
	case 1:
		command.TokenId = node1
	case 2:
		command.TokenId = runnerToken
	case 3:
		command.TokenId, command.Term = "", term
	}
	source.Fill(content.Message().Interface())
	command.ProtoReflect().Set(field, content)
	command.RequestId = atTime(start.now, ids.Derive(fixedID, number))
	return command
}

func kindFields() []protoreflect.FieldDescriptor {
	fields := (*commandpb.Command)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	all := make([]protoreflect.FieldDescriptor, fields.Len())
	for i := range all {
		all[i] = fields.Get(i)
	}
	return all
}

// origin is a state that machines can begin with.
type origin struct {
	snapshot []byte
	index    uint64
	now      time.Time
}

// busy has something of everything.
func busy(t testing.TB) origin {
	m := newShop(t)
	m.ok(m.do(&commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "b1", App: shopRef()}}))
	m.deployed("d1")
	m.ok(m.do(&commandpb.ReleaseCreate{Release: &deploymentpb.Release{Id: "r1", App: shopRef(), DeploymentId: "d1"}}))
	m.ok(m.attached("i1", "d1", 1))
	m.withRunner("run1")
	m.running("j1", "run1", spec(jobpb.Operation_OPERATION_UP))
	m.ok(m.do(&commandpb.JobSubmit{Id: "j2", Spec: spec(jobpb.Operation_OPERATION_BUILD)}))
	m.ok(m.do(&commandpb.ConfigSet{Changes: []*configpb.Change{{Scope: &configpb.Scope{Project: "shop"}, Name: "K", Sealed: []byte("v")}}}))
	return origin{m.snapshot(), m.index, m.now}
}

func (o origin) machine(t *testing.T) *machine {
	t.Helper()
	m := emptyMachine(t)
	if err := m.fsm.Restore(io.NopCloser(bytes.NewReader(o.snapshot))); err != nil {
		t.Fatal(err)
	}
	m.index, m.now = o.index, o.now
	return m
}

// same applies the entries on two machines that begin like start, one of which
// is replaced by its own snapshot after the first entry.
func same(t *testing.T, start origin, entries ...[]byte) {
	steady, restored := start.machine(t), start.machine(t)
	for n, data := range entries {
		steady.index++
		entry := &raft.Log{Index: steady.index, Term: term, Data: data}
		want, got := steady.fsm.Apply(entry).([]*commandpb.Result), restored.fsm.Apply(entry).([]*commandpb.Result)
		for i := range want {
			if !proto.Equal(want[i], got[i]) {
				t.Fatalf("command %d gives %v here and %v there", i, want[i], got[i])
			}
			if want[i].GetError().GetKind() == errs.Internal {
				t.Fatalf("command %d failed inside: %v", i, want[i])
			}
		}
		if n == 0 {
			next := emptyMachine(t)
			restored.restoreTo(next)
			restored = next
		}
	}
	if !bytes.Equal(steady.snapshot(), restored.snapshot()) {
		t.Fatal("the snapshots differ")
	}
}

// One command in an entry, and many.
func BenchmarkApply(b *testing.B) {
	for name, size := range map[string]int{"1": 1, "64": 64} {
		b.Run(name, func(b *testing.B) {
			m := newShop(b)
			for b.Loop() {
				commands := make([]*commandpb.Command, size)
				for i := range commands {
					commands[i] = m.by(userToken, &commandpb.TokenRevoke{Id: "none"})
				}
				m.apply(commands...)
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}
