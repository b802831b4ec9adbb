package replay

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestBufferHoldsWhatIsNotDiscarded(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var b Buffer
	var all []byte
	for range 5000 {
		switch random.IntN(4) {
		case 0:
			data := make([]byte, random.IntN(3*BlockSize))
			for i := range data {
				data[i] = byte(random.Uint32())
			}
			b.Write(data)
			all = append(all, data...)
		case 1:
			data := []byte{byte(random.Uint32())}
			b.Write(data)
			all = append(all, data...)
		case 2:
			to := b.Start() + uint64(random.IntN(b.Len()+1))
			if !b.Discard(to) || b.Start() != to {
				t.Fatalf("discarded to %d: the start is %d", to, b.Start())
			}
		case 3:
			at := b.Start() + uint64(random.IntN(b.Len()+1))
			got := b.At(at)
			if (len(got) == 0) != (at == b.End()) || len(got) > BlockSize || !bytes.Equal(got, all[at:int(at)+len(got)]) {
				t.Fatalf("%d bytes at %d of %d to %d", len(got), at, b.Start(), b.End())
			}
		}
		if b.End() != uint64(len(all)) {
			t.Fatalf("the end is %d of %d", b.End(), len(all))
		}
	}
	b.Discard(b.End())
	if b.Len() != 0 || b.blocks != nil {
		t.Error("an empty buffer takes memory")
	}
}

func TestBufferAcceptsWhatIsNew(t *testing.T) {
	var b Buffer
	b.Write([]byte("abc"))
	for _, tt := range []struct {
		offset uint64
		data   string
		good   bool
		end    uint64
	}{{0, "abc", true, 3}, {1, "bcd", true, 4}, {5, "f", false, 4}, {4, "e", true, 5}, {2, "c", true, 5}, {9, "", false, 5}} {
		if good := b.Accept(tt.offset, []byte(tt.data)); good != tt.good || b.End() != tt.end {
			t.Errorf("%q at %d: %v, the end is %d", tt.data, tt.offset, good, b.End())
		}
	}
	if got := string(b.At(0)); got != "abcde" {
		t.Errorf("got %q", got)
	}
	if b.Discard(6) || !b.Discard(2) || !b.Discard(1) || b.Start() != 2 {
		t.Errorf("the start is %d", b.Start())
	}
	if b.Holds(1) || !b.Holds(2) || !b.Holds(5) || b.Holds(6) {
		t.Error("it does not know what it holds")
	}
}

func TestBytesOfABufferStayAsTheyWere(t *testing.T) {
	var b Buffer
	b.Write([]byte("abc"))
	held := b.At(0)
	_ = append(held, 'x')
	b.Write([]byte("def"))
	b.Discard(5)
	if string(held) != "abc" || string(b.At(5)) != "f" {
		t.Errorf("%q, %q", held, b.At(5))
	}
}
