package token_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/api/authpb"
	"waypoint/errs"
	"waypoint/internal/token"
)

var (
	key    = []byte("0123456789abcdef0123456789abcdef")
	sample = &authpb.SignedToken{ClusterId: "c1", Id: "01ID", Kind: authpb.TokenKind_TOKEN_KIND_USER, Subject: "ada", ExpiresUnix: 42}
)

func TestASignedTokenIsVerified(t *testing.T) {
	text := token.Sign(key, sample)
	if !strings.HasPrefix(text, "wp1_") || text != token.Sign(key, sample) {
		t.Errorf("text is %q", text)
	}
	got, err := token.Verify(key, text)
	if err != nil || !proto.Equal(got, sample) {
		t.Errorf("Verify = %v, %v, want %v", got, err, sample)
	}
}

func TestForgeriesAreUnauthenticated(t *testing.T) {
	text := token.Sign(key, sample)
	body, sum, _ := strings.Cut(text, ".")
	admin := proto.CloneOf(sample)
	admin.Subject = "root"
	other, _, _ := strings.Cut(token.Sign(key, admin), ".")
	for name, forged := range map[string]string{
		"empty":              "",
		"no signature":       body,
		"empty signature":    body + ".",
		"cut signature":      text[:len(text)-4],
		"other key":          token.Sign([]byte("another"), sample),
		"other payload":      other + "." + sum,
		"other format":       "wp2_" + text[4:],
		"padded":             text + "=",
		"with a line break":  text + "\n",
		"loose last bits":    looseBits(text),
		"too long":           body + strings.Repeat("A", 5000) + "." + sum,
		"twice a dot":        text + ".x",
		"payload not base64": "wp1_!!." + sum,
	} {
		if got, err := token.Verify(key, forged); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: Verify = %v, %v", name, got, err)
		}
	}
}

// looseBits changes the bits of the last character that a lax decoder drops.
func looseBits(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + string(alphabet[last^1])
}

func TestAnUnreadablePayloadIsRefusedEvenIfItIsSigned(t *testing.T) {
	bad := &authpb.SignedToken{Subject: "\xff"}
	if text := token.Sign(key, bad); text != "" {
		t.Errorf("a token that cannot be serialized became %q", text)
	}
}

func FuzzVerify(f *testing.F) {
	text := token.Sign(key, sample)
	f.Add(text)
	f.Add("wp1_" + base64.RawURLEncoding.EncodeToString([]byte{8, 1}) + ".AAAA")
	f.Add("wp1_.")
	f.Fuzz(func(t *testing.T, given string) {
		if _, err := token.Verify(key, given); err == nil && given != text {
			t.Fatalf("%q was accepted", given)
		} else if err != nil && !errs.Is(err, errs.Unauthenticated) {
			t.Fatalf("%q gave %v", given, err)
		}
	})
}

// What this cluster has signed is a token that says the same when it is signed
// again, or is refused.
func FuzzSigned(f *testing.F) {
	for _, kind := range []authpb.TokenKind{authpb.TokenKind_TOKEN_KIND_USER, authpb.TokenKind_TOKEN_KIND_RUNNER, authpb.TokenKind_TOKEN_KIND_ENTRYPOINT} {
		t := proto.CloneOf(sample)
		t.Kind = kind
		payload, err := proto.Marshal(t)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Add([]byte{})
	f.Add(make([]byte, 4000))
	f.Fuzz(func(t *testing.T, payload []byte) {
		body := "wp1_" + base64.RawURLEncoding.EncodeToString(payload)
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(body))
		got, err := token.Verify(key, body+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
		if err != nil {
			if !errs.Is(err, errs.Unauthenticated) || got != nil {
				t.Fatalf("%x gave %v, %v", payload, got, err)
			}
			return
		}
		again, err := token.Verify(key, token.Sign(key, got))
		if err != nil && len(payload) < 2500 || err == nil && !proto.Equal(again, got) {
			t.Fatalf("%v became %v, %v", got, again, err)
		}
	})
}
