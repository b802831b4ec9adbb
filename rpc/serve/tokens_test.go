package serve

import (
	"fmt"
	"testing"

	"waypoint/api/authpb"
	"waypoint/errs"
	"waypoint/internal/token"
)

func TestKnownTokensAreThoseOfTheKey(t *testing.T) {
	var known tokens
	first, second := []byte("first key"), []byte("second key")
	text := token.Sign(first, &authpb.SignedToken{Id: "a"})
	for range 2 {
		if got, err := known.verify(first, text); err != nil || got.GetId() != "a" {
			t.Errorf("got %v, %v", got, err)
		}
		if _, err := known.verify(first, text+"x"); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("a forged token: %v", err)
		}
		if _, err := known.verify(second, text); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("a token of the key before: %v", err)
		}
	}
}

func TestKnownTokensAreBounded(t *testing.T) {
	var known tokens
	key := []byte("key")
	for i := range maxTokens + 10 {
		if _, err := known.verify(key, token.Sign(key, &authpb.SignedToken{Id: fmt.Sprint(i)})); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(known.signed); n > maxTokens {
		t.Errorf("%d tokens are kept", n)
	}
}
