// Package ids makes and reads the identifiers of everything: ULIDs, which sort
// by, and tell, the time they were made.
//
// It must not know what an identifier names.
package ids

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// New returns a new id, born now.
func New() string { return At(time.Now()) }

// At returns a new id, born at t, which is kept to the millisecond. Times that
// an id cannot hold (before 1970, after 10889) become the nearest that it can.
func At(t time.Time) string {
	return ulid.MustNew(millis(t), rand.Reader).String()
}

// Derive returns the n-th id that belongs to a request: the same for the same
// arguments, with the birth time of the request's id. A malformed request id
// gives an id born in 1970.
func Derive(requestID string, n int) string {
	born, err := Time(requestID)
	if err != nil {
		born = time.UnixMilli(0)
	}
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(requestID), uint64(n)))
	var id ulid.ULID
	// Neither call can fail: the time is in range and the entropy has its size.
	_ = id.SetTime(millis(born))
	_ = id.SetEntropy(sum[:10])
	return id.String()
}

// Time returns the time at which an id was born. It reads "ULID" and "ULID/n",
// the id of a call's n-th command.
func Time(id string) (time.Time, error) {
	text, n, more := strings.Cut(id, "/")
	if more && !isNumber(n) {
		return time.Time{}, fmt.Errorf("id %q: %q is not a number", id, n)
	}
	u, err := ulid.ParseStrict(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("id %q: %w", id, err)
	}
	return ulid.Time(u.Time()), nil
}

func isNumber(s string) bool {
	return s != "" && len(s) <= 9 && strings.Trim(s, "0123456789") == ""
}

func millis(t time.Time) uint64 {
	switch ms := t.UnixMilli(); {
	case ms < 0:
		return 0
	case uint64(ms) > ulid.MaxTime():
		return ulid.MaxTime()
	default:
		return uint64(ms)
	}
}
