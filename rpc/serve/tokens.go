package serve

import (
	"bytes"
	"sync"

	"waypoint/api/authpb"
	"waypoint/internal/token"
)

// maxTokens bounds the tokens that a server knows by heart.
const maxTokens = 8192

// tokens knows the tokens whose signature was checked before: most calls carry
// one of them. Whether they still count is another question.
type tokens struct {
	mu     sync.RWMutex
	key    []byte // that signed all of them
	signed map[string]*authpb.SignedToken
}

// verify returns the token of a text, which the caller must not change.
func (t *tokens) verify(key []byte, text string) (*authpb.SignedToken, error) {
	t.mu.RLock()
	signed := t.signed[text]
	same := bytes.Equal(t.key, key)
	t.mu.RUnlock()
	if signed != nil && same {
		return signed, nil
	}
	signed, err := token.Verify(key, text)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !bytes.Equal(t.key, key) || len(t.signed) >= maxTokens {
		t.key, t.signed = key, map[string]*authpb.SignedToken{}
	}
	t.signed[text] = signed
	return signed, nil
}
