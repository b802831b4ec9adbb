package protocol

import (
	"fmt"
	"strconv"
	"strings"

	"waypoint/api/versionpb"
	"waypoint/errs"
)

// maxHeader bounds the headers that are decoded, in bytes. Both are far
// shorter; the bound keeps a hostile peer from making us parse a megabyte.
const maxHeader = 1024

// EncodeRanges returns ranges as a header: "api=1-2,entrypoint=1-1,node=3-4",
// without the protocols that ranges leaves out.
func EncodeRanges(ranges *versionpb.Ranges) string {
	var parts []string
	for _, name := range []string{API, Entrypoint, Node} {
		if r := Of(ranges, name); r != nil {
			parts = append(parts, fmt.Sprintf("%s=%d-%d", name, r.GetMin(), r.GetCurrent()))
		}
	}
	return strings.Join(parts, ",")
}

// DecodeRanges is the inverse of EncodeRanges. Names of protocols that this
// build does not know are skipped, so that newer sides may add some. An empty
// header is that of a side that speaks nothing. The error is of kind Invalid.
func DecodeRanges(header string) (*versionpb.Ranges, error) {
	ranges := &versionpb.Ranges{}
	if header == "" {
		return ranges, nil
	}
	if len(header) > maxHeader {
		return nil, errs.New(errs.Invalid, "protocol ranges: %d bytes, at most %d are read", len(header), maxHeader)
	}
	for part := range strings.SplitSeq(header, ",") {
		name, span, ok := strings.Cut(part, "=")
		if !ok {
			return nil, errs.New(errs.Invalid, "protocol ranges: %q is not name=min-current", part)
		}
		slot := slotOf(ranges, name)
		if slot == nil {
			continue
		}
		if *slot != nil {
			return nil, errs.New(errs.Invalid, "protocol ranges: %s is named twice", name)
		}
		r, err := decodeRange(span)
		if err != nil {
			return nil, errs.New(errs.Invalid, "protocol ranges: %s: %w", name, err)
		}
		*slot = r
	}
	return ranges, nil
}

func slotOf(ranges *versionpb.Ranges, name string) **versionpb.Range {
	switch name {
	case API:
		return &ranges.Api
	case Entrypoint:
		return &ranges.Entrypoint
	case Node:
		return &ranges.Node
	}
	return nil
}

func decodeRange(span string) (*versionpb.Range, error) {
	low, high, ok := strings.Cut(span, "-")
	lowest, err1 := decimal(low, 32)
	highest, err2 := decimal(high, 32)
	if !ok || err1 != nil || err2 != nil {
		return nil, fmt.Errorf("%q is not min-current", span)
	}
	if lowest == 0 || lowest > highest {
		return nil, fmt.Errorf("%q is not a range of versions from 1 up", span)
	}
	return &versionpb.Range{Min: uint32(lowest), Current: uint32(highest)}, nil
}

// decimal reads a number in its one canonical form: no sign, no leading zero.
func decimal(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err == nil && strconv.FormatUint(n, 10) != s {
		return 0, strconv.ErrSyntax
	}
	return n, err
}

// EncodeIndex returns a state index and the epoch it belongs to as a header:
// "epoch/index".
func EncodeIndex(epoch string, index uint64) string {
	return epoch + "/" + strconv.FormatUint(index, 10)
}

// DecodeIndex is the inverse of EncodeIndex. The error is of kind Invalid.
func DecodeIndex(header string) (epoch string, index uint64, err error) {
	if len(header) > maxHeader {
		return "", 0, errs.New(errs.Invalid, "state index: %d bytes, at most %d are read", len(header), maxHeader)
	}
	cut := strings.LastIndexByte(header, '/')
	if cut < 0 {
		return "", 0, errs.New(errs.Invalid, "state index: %q is not epoch/index", header)
	}
	index, err = decimal(header[cut+1:], 64)
	if err != nil {
		return "", 0, errs.New(errs.Invalid, "state index: %q is not epoch/index", header)
	}
	return header[:cut], index, nil
}
