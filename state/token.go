package state

import (
	"slices"
	"time"

	"waypoint/api/authpb"
)

func tokenTable() *table[*authpb.Token] {
	return &table[*authpb.Token]{
		name: "tokens",
		id:   func(t *authpb.Token) []byte { return key{}.str(t.GetId()) },
		indexes: []index[*authpb.Token]{
			{name: "ended", key: tokenEnd},
		},
	}
}

// tokenEnd is when a token stops to work by expiry or has stopped by
// revocation, whichever is earlier.
func tokenEnd(t *authpb.Token) []byte {
	expires, revoked := t.GetExpiresAt(), t.GetRevokedAt()
	switch {
	case expires == nil && revoked == nil:
		return nil
	case revoked == nil:
		return key{}.time(expires)
	case expires == nil || revoked.AsTime().Before(expires.AsTime()):
		return key{}.time(revoked)
	}
	return key{}.time(expires)
}

type tokenQueries struct{ *reader }

// Token returns the record of a token, be it valid or not.
func (q tokenQueries) Token(id string) *authpb.Token {
	return q.tables.tokens.get(q.reader, key{}.str(id))
}

// Tokens lists all tokens, oldest first.
func (q tokenQueries) Tokens() []*authpb.Token {
	return slices.Collect(q.tables.tokens.ascend(q.reader, primary, nil))
}

// TokensEndedBefore lists at most limit tokens that were revoked or expired
// before the time.
func (q tokenQueries) TokensEndedBefore(t time.Time, limit int) []*authpb.Token {
	return before(q.tables.tokens, q.reader, "ended", t, tokenEnd, limit)
}
