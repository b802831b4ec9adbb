// Package token turns tokens into signed text and back, so that any node can
// tell a genuine token without asking another.
//
// It must not know who may do what, what is revoked, or what time it is.
package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"google.golang.org/protobuf/proto"

	"waypoint/api/authpb"
	"waypoint/errs"
)

const (
	// prefix names the format and makes leaked tokens easy to search for.
	prefix = "wp1_"
	// maxText bounds the text that Verify looks at, in bytes.
	maxText = 4096
)

// Sign returns the text of t: "wp1_", the serialized token and its HMAC-SHA256
// under key, both in unpadded base64url, with a dot between them.
func Sign(key []byte, t *authpb.SignedToken) string {
	// Only a string that is not UTF-8 can fail, and then a token that verifies
	// must not come out.
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(t)
	if err != nil {
		return ""
	}
	body := prefix + encoding().EncodeToString(payload)
	return body + "." + mac(key, body)
}

// Verify returns the token that text was made of. The error, of kind
// Unauthenticated, does not say more than a forger may know. The caller checks
// expiry, cluster and revocation.
func Verify(key []byte, text string) (*authpb.SignedToken, error) {
	body, sum, ok := strings.Cut(text, ".")
	if !ok || len(text) > maxText || !strings.HasPrefix(body, prefix) {
		return nil, errs.New(errs.Unauthenticated, "the token is not a Waypoint token: check that it was copied whole")
	}
	// The signature's text is compared, not its bytes: decoders skip line breaks.
	if !hmac.Equal([]byte(sum), []byte(mac(key, body))) {
		return nil, errs.New(errs.Unauthenticated, "the token was not signed by this cluster")
	}
	payload, err := encoding().DecodeString(body[len(prefix):])
	if err != nil {
		return nil, errs.New(errs.Unauthenticated, "the token cannot be read: %w", err)
	}
	t := &authpb.SignedToken{}
	if err := proto.Unmarshal(payload, t); err != nil {
		return nil, errs.New(errs.Unauthenticated, "the token cannot be read: %w", err)
	}
	return t, nil
}

// mac returns the text of the signature of body.
func mac(key []byte, body string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(body))
	return encoding().EncodeToString(h.Sum(nil))
}

func encoding() *base64.Encoding { return base64.RawURLEncoding.Strict() }
