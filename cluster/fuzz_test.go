package cluster

import (
	"reflect"
	"testing"

	"waypoint/errs"
)

// A text that is taken for a join token says the same when it is written again.
func FuzzParseJoinToken(f *testing.F) {
	real := &joinToken{ClusterID: "C", Fingerprint: "sha256:00", TokenID: "T", Secret: []byte("s"), Addrs: []string{"h:1"}}
	text, err := real.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(" " + text + "\n")
	f.Add("wpj_e30")
	f.Add("wpj_bnVsbA")
	f.Add("wp1_x.y")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := parseJoinToken(text)
		if err != nil {
			if !errs.Is(err, errs.Invalid) || token != nil {
				t.Fatalf("got %+v, %v", token, err)
			}
			return
		}
		written, err := token.encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseJoinToken(written); err != nil || !reflect.DeepEqual(again, token) {
			t.Fatalf("%+v became %+v, %v", token, again, err)
		}
	})
}
