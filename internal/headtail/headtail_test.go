package headtail

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestShortStreamIsKeptWhole(t *testing.T) {
	b := New(10)
	for _, s := range []string{"012", "3456", "78"} {
		if _, err := b.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	data, truncated := b.Bytes(10)
	if string(data) != "012345678" || truncated {
		t.Errorf("kept %q, truncated %v", data, truncated)
	}
}

func TestLongStreamKeepsItsHalves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := 2 * rapid.IntRange(1, 20).Draw(t, "half")
		b := New(limit)
		var all []byte
		for range rapid.IntRange(0, 20).Draw(t, "writes") {
			p := rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "p")
			all = append(all, p...)
			_, _ = b.Write(p)
		}
		data, truncated := b.Bytes(limit)
		if truncated != (len(all) > limit) {
			t.Fatalf("%d bytes, limit %d: truncated %v", len(all), limit, truncated)
		}
		for _, part := range Split(data, b.Total(), truncated) {
			want := all[part.Offset : part.Offset+uint64(len(part.Data))]
			if !bytes.Equal(part.Data, want) {
				t.Fatalf("at %d: %v, want %v", part.Offset, part.Data, want)
			}
		}
		if truncated && len(data) != limit {
			t.Fatalf("kept %d of %d", len(data), limit)
		}
		readAll(t, b, all)
	})
}

func readAll(t *rapid.T, b *Buffer, all []byte) {
	var offset uint64
	for {
		data, at, _, _ := b.ReadFrom(offset, 3)
		if len(data) == 0 {
			break
		}
		if at < offset || !bytes.Equal(data, all[at:at+uint64(len(data))]) {
			t.Fatalf("read %v at %d, wanted from %d", data, at, offset)
		}
		offset = at + uint64(len(data))
	}
	if offset != uint64(len(all)) {
		t.Fatalf("read up to %d of %d", offset, len(all))
	}
}

func TestRepeatedBytesAreTakenOnce(t *testing.T) {
	b := New(100)
	b.WriteAt([]byte("0123"), 0)
	b.WriteAt([]byte("2345"), 2)
	b.WriteAt([]byte("01"), 0)
	if data, _ := b.Bytes(100); string(data) != "012345" {
		t.Errorf("kept %q", data)
	}
}

func TestGapIsLeftOut(t *testing.T) {
	b := New(100)
	b.WriteAt([]byte("01"), 0)
	b.WriteAt([]byte("89"), 8)
	data, at, _, _ := b.ReadFrom(2, 10)
	if string(data) != "89" || at != 8 || b.Total() != 10 {
		t.Errorf("read %q at %d of %d", data, at, b.Total())
	}
	if data, truncated := b.Bytes(100); string(data) != "0189" || !truncated {
		t.Errorf("kept %q, truncated %v", data, truncated)
	}
}

func TestReaderIsWokenByBytesAndByTheEnd(t *testing.T) {
	b := New(100)
	_, _, closed, changed := b.ReadFrom(0, 10)
	if closed {
		t.Error("closed at the start")
	}
	_, _ = b.Write([]byte("x"))
	<-changed
	_, _, _, changed = b.ReadFrom(1, 10)
	b.Close()
	<-changed
	if _, _, closed, _ = b.ReadFrom(1, 10); !closed {
		t.Error("not closed at the end")
	}
}
