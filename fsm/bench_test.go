package fsm_test

import (
	"bytes"
	"fmt"
	"testing"

	"waypoint/api/commandpb"
	"waypoint/api/configpb"
)

// BenchmarkApplyConfigSet applies entries of 64 commands that each set one
// variable of 256 B; the time is that of one command.
func BenchmarkApplyConfigSet(b *testing.B) {
	const batch = 64
	m := newShop(b)
	sealed := bytes.Repeat([]byte("x"), 300)
	b.ReportAllocs()
	for done := 0; done < b.N; done += batch {
		b.StopTimer()
		commands := make([]*commandpb.Command, batch)
		for i := range commands {
			commands[i] = m.by(userToken, &commandpb.ConfigSet{Changes: []*configpb.Change{{
				Scope: &configpb.Scope{Project: "shop"}, Name: fmt.Sprintf("CLIENT_%d", (done+i)%256),
				Sealed: fmt.Appendf(sealed, "%d", done+i), Origin: configpb.Origin_ORIGIN_SET,
			}}})
		}
		entry := m.entry(commands...)
		b.StartTimer()
		m.fsm.Apply(entry)
	}
}
