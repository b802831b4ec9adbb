package state

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"runtime/metrics"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Frames as they stand in a snapshot, whatever they hold.
func FuzzRestore(f *testing.F) {
	data := encode(f, sample(f))
	f.Add(unpack(f, data))
	f.Add(unpack(f, encode(f, New())))
	f.Add([]byte{frameTable, 4, 'm', 'e', 't', 'a', frameRow, 0})
	f.Fuzz(func(t *testing.T, raw []byte) { restoreAny(t, frames(t, raw)) })
}

// A compressed stream as it stands in a snapshot, whatever it holds.
func FuzzRestorePacked(f *testing.F) {
	data := encode(f, sample(f))
	f.Add(data[len(magic)+1 : len(data)-sumSize])
	f.Add(packed(f, bytes.Repeat([]byte{frameRow, 0}, 1<<20)))
	f.Add(packed(f, append([]byte{frameTable, 0xff, 0xff, 0xff, 0x0f}, make([]byte, 16<<20)...)))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0}) // claims 8 EiB
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 1, 0, 0})                                           // claims a window of 3.75 TiB
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole := append([]byte(magic), formatVersion)
		whole = append(whole, stream...)
		sum := sha256.Sum256(whole)
		restoreAny(t, append(whole, sum[:]...))
	})
}

// Any file.
func FuzzRestoreFile(f *testing.F) {
	data := encode(f, sample(f))
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte(magic))
	f.Add([]byte{})
	f.Fuzz(restoreAny)
}

// restoreAny restores data in place of a state. It is refused, changes nothing
// and wakes nobody, or what is written of it can be restored again and is the
// same. Nothing allocates much more than the data deserve.
func restoreAny(t *testing.T, data []byte) {
	s := sample(t)
	before, meta := encode(t, s), s.Read().Meta()
	watched := NewWatchSet()
	s.Read().Watch(watched).Nodes()
	start := allocated()
	err := s.Restore(bytes.NewReader(data))
	// A frame may have maxFrame bytes, which are read into a buffer that doubles,
	// and a stream of nothing packs a thousand to one.
	const fixed, share = 6*maxFrame + 64<<20, 64 << 10
	if grown := allocated() - start; grown > fixed+share*uint64(len(data)) {
		t.Fatalf("%d bytes made it allocate %d", len(data), grown)
	}
	if err != nil {
		if !errors.Is(err, ErrSnapshot) {
			t.Errorf("error is %v", err)
		}
		if after := encode(t, s); s.Read().Meta() != meta || !bytes.Equal(before, after) {
			t.Error("the refused snapshot has changed the state")
		}
		if watched.Wait(canceled()) == nil {
			t.Error("the refused snapshot has woken watchers")
		}
		return
	}
	again, written := New(), encode(t, s)
	if err := again.Restore(bytes.NewReader(written)); err != nil {
		t.Fatalf("it was accepted, but not what was written of it: %v", err)
	}
	if !bytes.Equal(encode(t, again), written) || again.Read().Meta() != s.Read().Meta() {
		t.Error("it changes by being written and restored")
	}
}

func packed(f *testing.F, raw []byte) []byte {
	f.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(raw, nil)
}

// allocated is how many bytes this process has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
