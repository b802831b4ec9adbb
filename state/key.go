package state

import (
	"encoding/binary"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// key builds an index key whose byte order is the order of its parts. No key
// is a prefix of another of the same shape, so that a prefix of parts finds
// exactly the rows that have them.
type key []byte

// Within a string a zero byte is followed by escaped; a string ends with two
// zero bytes.
const escaped = 0xff

func (k key) str(s string) key {
	for i := 0; i < len(s); i++ {
		k = append(k, s[i])
		if s[i] == 0 {
			k = append(k, escaped)
		}
	}
	return append(k, 0, 0)
}

func (k key) num(n uint64) key {
	return binary.BigEndian.AppendUint64(k, n)
}

// time appends a time at or after 1970. An unset time sorts first.
func (k key) time(t *timestamppb.Timestamp) key {
	if t == nil {
		return k.num(0)
	}
	return k.instant(t.AsTime())
}

func (k key) instant(t time.Time) key {
	return k.num(uint64(max(t.UnixNano(), 0)))
}
