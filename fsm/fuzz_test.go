package fsm_test

import (
	"bytes"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
)

// Whatever an entry holds, as long as it is one: it never panics, never fails
// inside a command, and leaves a state that survives a snapshot.
func FuzzEntry(f *testing.F) {
	seed := emptyMachine(f)
	create := wrap(&commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "b", App: shopRef()}})
	create.Term = term
	f.Add(seed.entry(wrap(bootstrapCommand())).Data)
	f.Add(seed.entry(create, wrap(&commandpb.Noop{})).Data)
	f.Add(seed.entry(seed.by(userToken, &commandpb.ProjectApply{Name: "p", Apps: []string{"a"}})).Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if proto.Unmarshal(data, &commandpb.Entry{}) != nil {
			t.Skip("not an entry")
		}
		m := newShop(t)
		m.index++
		for _, result := range m.fsm.Apply(&raft.Log{Index: m.index, Term: term, Data: data}).([]*commandpb.Result) {
			if result.GetError().GetKind() == errs.Internal {
				t.Errorf("failed inside: %v", result)
			}
		}
		other := emptyMachine(t)
		m.restoreTo(other)
		if !bytes.Equal(m.snapshot(), other.snapshot()) {
			t.Error("the snapshots differ")
		}
	})
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
