package raftstore

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// BenchmarkAppend writes batches of entries of 300 bytes, each batch with an
// fsync. "disk" is what the disk does alone: 300 bytes and an fsync, over and
// over in a file that has its size.
func BenchmarkAppend(b *testing.B) {
	b.Run("disk", benchmarkSync)
	for _, kind := range Kinds() {
		for _, size := range []int{1, 32, 256} {
			b.Run(fmt.Sprintf("%s/%d", kind, size), func(b *testing.B) { benchmarkAppend(b, kind, size) })
		}
	}
}

func benchmarkSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	data := bytes.Repeat([]byte("x"), 300)
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		b.Fatal(err)
	}
	at := int64(0)
	for b.Loop() {
		if _, err := f.WriteAt(data, at%(1<<19)); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		at += int64(len(data))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "fsyncs/s")
}

func benchmarkAppend(b *testing.B, kind string, size int) {
	s, err := Open(b.TempDir(), Options{
		Create: true, Kind: kind, Logger: hclog.NewNullLogger(),
		Guard: NewGuard(time.Minute, func(err error) { b.Error(err) }),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	data := bytes.Repeat([]byte("x"), 300)
	next := uint64(1)
	for b.Loop() {
		entries := make([]*raft.Log, size)
		for i := range entries {
			entries[i] = &raft.Log{Index: next, Term: 1, Data: data, AppendedAt: time.Now()}
			next++
		}
		if err := s.Log.StoreLogs(entries); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "batches/s")
	b.ReportMetric(float64(next-1)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkSeal is the price of the checksum of one entry.
func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{300, 512 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			e := &raft.Log{Index: 1, Term: 1, Data: make([]byte, size)}
			b.SetBytes(int64(size))
			for b.Loop() {
				seal(e, 0)
			}
		})
	}
}
