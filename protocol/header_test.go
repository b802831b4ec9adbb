package protocol_test

import (
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/protocol"
)

func span(low, high uint32) *versionpb.Range { return &versionpb.Range{Min: low, Current: high} }

func TestRangesHeader(t *testing.T) {
	tests := []struct {
		header string
		ranges *versionpb.Ranges
	}{
		{"", &versionpb.Ranges{}},
		{"api=1-1,entrypoint=1-1,node=1-1", &versionpb.Ranges{Api: span(1, 1), Entrypoint: span(1, 1), Node: span(1, 1)}},
		{"entrypoint=2-7", &versionpb.Ranges{Entrypoint: span(2, 7)}},
		{"api=1-4294967295", &versionpb.Ranges{Api: span(1, math.MaxUint32)}},
	}
	for _, tt := range tests {
		if got := protocol.EncodeRanges(tt.ranges); got != tt.header {
			t.Errorf("EncodeRanges(%v) = %q, want %q", tt.ranges, got, tt.header)
		}
		got, err := protocol.DecodeRanges(tt.header)
		if err != nil || !proto.Equal(got, tt.ranges) {
			t.Errorf("DecodeRanges(%q) = %v, %v, want %v", tt.header, got, err, tt.ranges)
		}
	}
}

func TestRangesHeaderSkipsUnknownProtocols(t *testing.T) {
	got, err := protocol.DecodeRanges("edge=x,api=1-2,browser=3-4")
	if want := (&versionpb.Ranges{Api: span(1, 2)}); err != nil || !proto.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestRangesHeaderRefusesWhatIsNoRange(t *testing.T) {
	for _, header := range []string{
		"api", "api=", "api=1", "api=0-1", "api=2-1", "api=-1-2", "api=1-4294967296", "api=01-2", "api=+1-2",
		"api=1-2-3", "api=1-2,", "api=1-2,api=1-2", "api = 1-2,x", strings.Repeat("x=1-1,", 1000),
	} {
		if got, err := protocol.DecodeRanges(header); !errs.Is(err, errs.Invalid) {
			t.Errorf("DecodeRanges(%.40q) = %v, %v, want an Invalid error", header, got, err)
		}
	}
}

func TestIndexHeader(t *testing.T) {
	tests := []struct {
		header string
		epoch  string
		index  uint64
	}{
		{"01JEPOCH/42", "01JEPOCH", 42},
		{"/0", "", 0},
		{"a/b/18446744073709551615", "a/b", math.MaxUint64},
	}
	for _, tt := range tests {
		if got := protocol.EncodeIndex(tt.epoch, tt.index); got != tt.header {
			t.Errorf("EncodeIndex(%q, %d) = %q, want %q", tt.epoch, tt.index, got, tt.header)
		}
		epoch, index, err := protocol.DecodeIndex(tt.header)
		if epoch != tt.epoch || index != tt.index || err != nil {
			t.Errorf("DecodeIndex(%q) = %q, %d, %v", tt.header, epoch, index, err)
		}
	}
	for _, header := range []string{"", "7", "e/", "e/-1", "e/x", "e/007", "e/18446744073709551616", strings.Repeat("e", 2000) + "/1"} {
		if _, _, err := protocol.DecodeIndex(header); !errs.Is(err, errs.Invalid) {
			t.Errorf("DecodeIndex(%.40q) gave %v, want an Invalid error", header, err)
		}
	}
}

func FuzzDecodeRanges(f *testing.F) {
	f.Add("")
	f.Add("api=1-1,entrypoint=1-1,node=1-1")
	f.Add("api=3-5,edge=x,node=0-1")
	f.Fuzz(func(t *testing.T, header string) {
		ranges, err := protocol.DecodeRanges(header)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("DecodeRanges(%q) failed with %v", header, errs.KindOf(err))
			}
			return
		}
		again, err := protocol.DecodeRanges(protocol.EncodeRanges(ranges))
		if err != nil || !proto.Equal(again, ranges) {
			t.Fatalf("%q was read as %v, then as %v (%v)", header, ranges, again, err)
		}
	})
}

func FuzzDecodeIndex(f *testing.F) {
	f.Add("01JEPOCH/42")
	f.Add("/")
	f.Fuzz(func(t *testing.T, header string) {
		epoch, index, err := protocol.DecodeIndex(header)
		if err != nil {
			if !errs.Is(err, errs.Invalid) || epoch != "" || index != 0 {
				t.Fatalf("%q gave %q, %d, %v", header, epoch, index, err)
			}
		} else if protocol.EncodeIndex(epoch, index) != header {
			t.Fatalf("%q was read as %q, %d", header, epoch, index)
		}
	})
}
