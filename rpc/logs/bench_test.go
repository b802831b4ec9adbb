package logs_test

import (
	"testing"

	"waypoint/api/entrypointpb"
	"waypoint/api/logspb"
	"waypoint/session/sessiontest"
)

// BenchmarkFollow measures lines from an instance on another node to a reader
// who follows, and how many of them the reader was too slow for.
func BenchmarkFollow(b *testing.B) {
	c := newCluster(b, nil)
	_, token := sessiontest.Deploy(c.f)
	e := c.attach(b, c.b, token, &entrypointpb.Hello{Generation: 1})
	r := c.read(b, b.Context(), &logspb.StreamRequest{Follow: true, After: map[string]uint64{e.ID: 0}}, e)
	const size = 500
	data := make([]byte, 100)
	sent, seen, lost := uint64(0), uint64(0), uint64(0)
	done := make(chan struct{})
	rounds := uint64(b.N)
	go func() {
		defer close(done)
		for seen+lost < rounds*size {
			response, err := r.stream.Recv()
			if err != nil {
				b.Error(err)
				return
			}
			for _, batch := range response.GetBatches() {
				seen += uint64(len(batch.GetLines()))
				lost += batch.GetGap().GetLines()
			}
		}
	}()
	b.ResetTimer()
	for range rounds {
		batch := &entrypointpb.LogBatch{}
		for range size {
			sent++
			batch.Lines = append(batch.Lines, &logspb.Line{Seq: sent, Time: int64(sent), Data: data})
		}
		e.Send(&entrypointpb.Up{Kind: &entrypointpb.Up_Logs{Logs: batch}})
	}
	<-done
	b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "lines/s")
	b.ReportMetric(float64(lost)/float64(sent)*100, "%lost")
}
